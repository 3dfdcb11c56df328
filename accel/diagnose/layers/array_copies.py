"""Calls of `torch.tensor` with arrays, which copy what `torch.as_tensor` and `torch.from_numpy` share."""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from accel.diagnose.layers.module_path import ModulePath
from accel.diagnose.layers.operation_recorder import model_line

__all__ = ["ArrayCopies", "ArrayCopy"]


@dataclass(frozen=True)
class ArrayCopy:
    """Copies that one line of code makes.

    Args:
        bytes: that it copies.
        seconds: that it takes.
        layer: path of the module in whose `forward` it is; None outside of the model.
        in_pass: whether it is in a pass through the model, and not where data is read.
    """

    bytes: int
    seconds: float
    layer: str | None = None
    in_pass: bool = True


class ArrayCopies(TorchFunctionMode):
    """Mode that keeps the lines which call `torch.tensor` with an array or a tensor, and what each copies.

    Args:
        path: knows the module that computes; None where data is read.
    """

    def __init__(self, path: ModulePath | None = None) -> None:
        super().__init__()
        self.path = path
        self.lines: dict[str, ArrayCopy] = {}
        """Copies by line, `FILE:LINE CODE`."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is not torch.tensor:
            return func(*args, **(kwargs or {}))
        count = _array_bytes(args[0] if args else (kwargs or {}).get("data"))
        start = perf_counter()
        made = func(*args, **(kwargs or {}))
        if count:
            self._keep(count, perf_counter() - start)
        return made

    def _keep(self, count: int, seconds: float) -> None:
        line, layer = model_line(), None if self.path is None else self.path.current()[0]
        known = self.lines.get(line)
        if known is not None:
            count, seconds, layer = count + known.bytes, seconds + known.seconds, known.layer
        self.lines[line] = ArrayCopy(count, seconds, layer, self.path is not None)


def _array_bytes(data: Any) -> int:
    """Return the bytes of an array, of a tensor, or of a list of them; 0 for numbers."""
    if isinstance(data, np.ndarray | Tensor):
        return int(data.nbytes) if data.ndim else 0
    if isinstance(data, list | tuple) and data and isinstance(data[0], np.ndarray | Tensor):
        return sum(_array_bytes(one) for one in data)
    return 0
