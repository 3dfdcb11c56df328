"""The comparison of two runs, to the last bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from accel.checkpoints import find

__all__ = ["FILES", "bits", "compare_runs", "first_difference", "without_pending_lines"]

FILES = ("metrics.jsonl", "model.safetensors", "best.safetensors")


def compare_runs(one: Path, other: Path) -> str:
    """Return the first difference between two runs, in words; empty if there is none.

    Compared are the last checkpoint (weights, the state of every part, random numbers, position, results) and `FILES`.

    Args:
        one: a run directory.
        other: another run directory.
    """
    checkpoints = [find("auto", out) for out in (one, other)]
    names = [None if checkpoint is None else checkpoint.file.name for checkpoint in checkpoints]
    if names[0] != names[1]:
        return f"the last checkpoint is {names[0]}, and {names[1]} in the other"
    states = [None if checkpoint is None else without_pending_lines(checkpoint.state()) for checkpoint in checkpoints]
    place = first_difference(states[0], states[1])
    if place:
        return f"{place} in the last checkpoint"
    for name in FILES:
        one_bytes, other_bytes = ((out / name).read_bytes() if (out / name).exists() else b"" for out in (one, other))
        if one_bytes != other_bytes:
            pairs = enumerate(zip(one_bytes, other_bytes, strict=False))
            index = next((i for i, (a, b) in pairs if a != b), min(len(one_bytes), len(other_bytes)))
            position = f"line {one_bytes[:index].count(10) + 1}" if name.endswith("jsonl") else f"byte {index:,}"
            return f"{name} at {position}"
    return ""


def without_pending_lines(state: dict[str, Any]) -> dict[str, Any]:
    """Return the state without the lines that a full disk had refused: they were written later, and the file is compared."""
    for part in state["parts"].values():
        part.pop("waiting", None)
    return state


def first_difference(one: Any, other: Any, place: str = "") -> str:
    """Return where two states differ, such as `model.0.weight`; empty if they do not. NaNs with equal bits are equal."""
    if isinstance(one, dict) and isinstance(other, dict):
        if one.keys() != other.keys():
            return f"{place} (its keys)".strip()
        differences = (first_difference(one[key], other[key], f"{place}.{key}".lstrip(".")) for key in one)
        return next(filter(None, differences), "")
    if isinstance(one, list | tuple) and isinstance(other, list | tuple) and len(one) == len(other):
        pairs = enumerate(zip(one, other, strict=True))
        differences = (first_difference(a, b, f"{place}.{number}".lstrip(".")) for number, (a, b) in pairs)
        return next(filter(None, differences), "")
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        is_equal = one.dtype == other.dtype and one.shape == other.shape and torch.equal(bits(one), bits(other))
        return "" if is_equal else place
    return "" if type(one) is type(other) and (one == other or (one != one and other != other)) else place


def bits(tensor: Tensor) -> Tensor:
    """Return the tensor's bytes, (n,) uint8."""
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
