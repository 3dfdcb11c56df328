"""The torch model as an export is timed beside it: in eager mode, and compiled."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from accel.export.proof.output_differences import OutputDifferences
from accel.plugins.compile import MIN_RECOMPILE_LIMIT
from accel.system.machine import Need

__all__ = ["TimedTorch"]

ROUNDING = 1e-3
"""Largest difference of a compiled output from an eager one that is rounding, as a share of the largest output."""


class TimedTorch:
    """A torch model that is timed, compiled when that is asked for. What is compiled once serves all targets.

    Args:
        model: takes its inputs in order; in evaluation mode on the CPU.
        backend: the compiler, as `torch.compile` takes it.
    """

    def __init__(self, model: nn.Module, backend: Any = "inductor") -> None:
        self.model, self.backend = model, backend
        self.graph: Callable[..., Any] | None = None
        lack = Need("compiler", {"backend": "inductor"}).unmet_reason({"backend": backend}, "cpu")
        self.failure = "" if lack is None else f"torch.compile: {lack}"
        """Why there is no compiled model, a clause; empty as long as nothing is known to prevent it."""

    def compiled(self, inputs: Sequence[Tensor]) -> Callable[..., Any] | None:
        """Return the model as inductor compiles it for inputs of these shapes and as many threads as torch has; None if it cannot.

        The time of compiling is over when it returns.
        """
        if self.failure:
            return None
        try:
            with _quiet_compiler():
                if self.graph is None:
                    self.graph = torch.compile(self.model, backend=self.backend, dynamic=False, fullgraph=True)
                differences = OutputDifferences()
                outputs = tree_leaves(self.model(*inputs)), tree_leaves(self.graph(*inputs))
                differences.add(*outputs, [f"output {place}" for place in range(len(outputs[0]))])
        except Exception as error:  # whatever the compiler trips over
            self.failure = f"torch.compile failed ({' '.join(f'{type(error).__name__}: {error}'.split())[:200]})"
            return None
        if not differences.share <= ROUNDING:
            self.failure = f"torch.compile makes something else of the model (off by {differences.share:.2g} of the largest output)"
            return None
        return self.graph


@contextmanager
def _quiet_compiler() -> Iterator[None]:
    """Let torch compile without warnings of its own meanwhile, and keep a graph for each batch size and number of threads."""
    import torch._dynamo  # seconds

    with warnings.catch_warnings(action="ignore"):
        before = torch._dynamo.config.recompile_limit
        torch._dynamo.config.recompile_limit = max(MIN_RECOMPILE_LIMIT, before)
        try:
            yield
        finally:
            torch._dynamo.config.recompile_limit = before
