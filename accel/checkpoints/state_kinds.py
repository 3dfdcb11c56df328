"""Kinds of the values in a state: a part is given back what it once gave, and nothing that only fails in an update.

A hash proves that a state is as someone wrote it, not that a part of accel did.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["check_kinds", "check_tensors"]


def check_kinds(saved: Any, fresh: Any, path: str = "") -> None:
    """Compare a saved state with that of the same part before its first update, where both have a value.

    Args:
        saved: from a checkpoint.
        fresh: the part's own.
        path: of the value, for messages.

    Raises:
        ValueError: if a number stands in place of a text, a list in place of a number, and so on.
    """
    if isinstance(fresh, dict) and isinstance(saved, dict):
        for key in fresh.keys() & saved.keys():
            check_kinds(saved[key], fresh[key], f"{path}.{key}")
    elif isinstance(fresh, list | tuple) and isinstance(saved, list | tuple):
        for number, (old, new) in enumerate(zip(saved, fresh, strict=False)):
            check_kinds(old, new, f"{path}[{number}]")
    elif fresh is not None and saved is not None and _kind(saved) is not _kind(fresh):
        raise ValueError(f"{path.removeprefix('.')} is a {type(saved).__name__}, and a {type(fresh).__name__} is wanted")


def check_tensors(value: Any, fresh: Any = None, path: str = "") -> None:
    """Raise ValueError for a tensor that accel never saves: one without memory, or sparse where the `fresh` value is not."""
    layouts = (torch.strided, fresh.layout) if isinstance(fresh, Tensor) else (torch.strided,)
    if isinstance(value, Tensor) and (value.layout not in layouts or value.is_meta):
        raise ValueError(f"{path.removeprefix('.')} is a tensor of a kind that is never saved")
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list | tuple) else ():
        check_tensors(inner, fresh.get(key) if isinstance(fresh, dict) else None, f"{path}.{key}")


def _kind(value: Any) -> Any:
    """Return what must be equal of two values: numbers of Python and of a tensor of one number are one kind."""
    if isinstance(value, bool):
        return bool
    if isinstance(value, int | float) or (isinstance(value, Tensor) and value.numel() == 1):
        return float
    return Tensor if isinstance(value, Tensor) else type(value)
