"""State of objects of other packages: what a checkpoint can hold of it, and whether two are the same."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from accel.device.dtensor import is_dtensor

__all__ = ["same", "unsaveable"]

PLAIN = (type(None), bool, int, float, str, bytes, torch.dtype, torch.device)


def unsaveable(state: Any, place: str = "") -> str:
    """Return what a state holds that no checkpoint can, with its place, in words; empty if there is nothing."""
    if isinstance(state, dict):
        odd = next((key for key in state if not isinstance(key, int | str)), None)
        if odd is not None:
            return f"a key of the kind {type(odd).__name__} in {place.removeprefix('.') or 'it'}"
        return next((words for key, value in state.items() if (words := unsaveable(value, f"{place}.{key}"))), "")
    if type(state) in (list, tuple, torch.Size):
        return next((words for index, value in enumerate(state) if (words := unsaveable(value, f"{place}.{index}"))), "")
    if isinstance(state, Tensor) and (type(state) in (Tensor, torch.nn.Parameter) or is_dtensor(state)):
        return ""
    return "" if type(state) in PLAIN else f"a {type(state).__name__} in {place.removeprefix('.')}"


def same(first: Any, second: Any) -> bool:
    """Return whether two values are the same to the bit, tensors within them too."""
    if isinstance(first, Tensor) or isinstance(second, Tensor):
        both = isinstance(first, Tensor) and isinstance(second, Tensor)
        return both and first.shape == second.shape and first.dtype == second.dtype and bool(torch.equal(first, second))
    if isinstance(first, dict) and isinstance(second, dict):
        return first.keys() == second.keys() and all(same(value, second[key]) for key, value in first.items())
    if isinstance(first, list | tuple) and isinstance(second, list | tuple):
        return len(first) == len(second) and all(map(same, first, second))
    return bool(first == second)
