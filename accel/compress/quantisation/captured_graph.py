"""The graph of a model by `torch.export`: which layers it calls, and where a model cannot be captured."""

from __future__ import annotations

import linecache
import logging
import traceback
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from io import StringIO
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from accel.errors import ConfigError
from accel.system.call_stack import is_user_code

__all__ = ["capture", "layer_calls", "quiet"]

OPERATIONS = ("aten.conv1d", "aten.conv2d", "aten.conv3d", "aten.linear")
"""What layers of 8 bits are in a graph."""


def capture(
    model: nn.Module, inputs: tuple[Any, ...], named: Mapping[str, Any] | None = None, dynamic_batch: bool = False
) -> Any:  # fmt: skip
    """Return the graph of a model, a `torch.fx.GraphModule`.

    Args:
        model: the model in evaluation mode, which is left as it is.
        inputs: what a forward pass takes.
        named: what it takes by name.
        dynamic_batch: whether the first dimension of the tensors may have another size later.

    Raises:
        ConfigError: if it cannot be captured; the sentence names the operator, and the user's line.
    """
    by_name = dict(named or {})
    shapes = pytree.tree_map(_free_batch, (*inputs, *by_name.values())) if dynamic_batch else None
    operators = FailedOperator()
    try:
        with quiet(), torch.no_grad(), operators:
            return torch.export.export(model, inputs, by_name, dynamic_shapes=shapes).module()
    except Exception as error:  # whatever torch trips over in the user's code
        reason = f"{operators.name}, {type(error).__name__}: {' '.join(str(error).split())[:160]}"
        raise ConfigError(f"torch.export cannot capture {type(model).__name__}{_place(error)}: {reason}") from error


class FailedOperator(TorchFunctionMode):
    """Mode that remembers the name of the operator in which an error arose."""

    name = "in no operator"

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call an operator."""
        try:
            return func(*args, **(kwargs or {}))
        except Exception:
            self.name = f"in {torch.overrides.resolve_name(func) or getattr(func, '__name__', func)}"
            raise


@contextmanager
def quiet() -> Iterator[None]:
    """Context in which torch neither warns nor logs nor prints: it shows its whole graph where it fails."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stderr(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def layer_calls(graph: Any) -> dict[str, list[Any]]:
    """Return the nodes of convolutions and Linear in a graph, by the names of the modules that called them, in order."""
    calls: dict[str, list[Any]] = {}
    for node in graph.graph.nodes:
        if node.op == "call_function" and str(node.target).rpartition(".")[0] in OPERATIONS:
            stack = list(node.meta.get("nn_module_stack", {}).values())
            calls.setdefault(stack[-1][0] if stack else "", []).append(node)
    return calls


def _free_batch(value: Any) -> Any:
    return {0: torch.export.Dim.AUTO} if isinstance(value, Tensor) and value.dim() else None


def _place(error: BaseException) -> str:
    """Return the innermost line of the user's code that an error came through, with what stands there."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__) if is_user_code(frame.filename)]
    if not lines:
        return ""
    file, number = lines[-1]
    return f" at {file}:{number} ({linecache.getline(file, number or 0).strip()})"
