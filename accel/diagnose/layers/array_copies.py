"""Calls of `torch.tensor` with arrays, which copy what `torch.as_tensor` and `torch.from_numpy` share."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from accel.diagnose.layers.operation_recorder import model_line

__all__ = ["ArrayCopies"]


class ArrayCopies(TorchFunctionMode):
    """Mode that keeps the lines which call `torch.tensor` with an array or a tensor, and the bytes that each copies."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: dict[str, int] = {}
        """Bytes by line, `FILE:LINE CODE`."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.tensor:
            data = args[0] if args else (kwargs or {}).get("data")
            if count := _array_bytes(data):
                line = model_line()
                self.lines[line] = self.lines.get(line, 0) + count
        return func(*args, **(kwargs or {}))


def _array_bytes(data: Any) -> int:
    """Return the bytes of an array, of a tensor, or of a list of them; 0 for numbers."""
    if isinstance(data, np.ndarray | Tensor):
        return int(data.nbytes) if data.ndim else 0
    if isinstance(data, list | tuple) and data and isinstance(data[0], np.ndarray | Tensor):
        return sum(_array_bytes(one) for one in data)
    return 0
