"""Whether two runs came to the same, to the last bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from accel.checkpoints import find

FILES = ("metrics.jsonl", "model.safetensors")


def compare_runs(one: Path, other: Path) -> str:
    """The first thing in which the run in `one` differs from that in `other`, in words; empty where there is none.

    Compared are the last checkpoint (weights, the state of every part, random numbers, position, results) and `FILES`.
    """
    found = [find("auto", out) for out in (one, other)]
    names = [None if each is None else each.file.name for each in found]
    if names[0] != names[1]:
        return f"the last checkpoint is {names[0]}, and {names[1]} in the other"
    states = [None if each is None else without_pending_lines(each.state()) for each in found]
    place = first_difference(states[0], states[1])
    if place:
        return f"{place} in the last checkpoint"
    for name in FILES:
        mine, its = ((out / name).read_bytes() if (out / name).exists() else b"" for out in (one, other))
        if mine != its:
            at = next((i for i, (a, b) in enumerate(zip(mine, its, strict=False)) if a != b), min(len(mine), len(its)))
            where = f"line {mine[:at].count(10) + 1}" if name.endswith("jsonl") else f"byte {at:,}"
            return f"{name} at {where}"
    return ""


def without_pending_lines(state: dict[str, Any]) -> dict[str, Any]:
    """The same without the lines that a full disk had not taken by then: they have come since, and the file itself is compared."""
    for part in state["parts"].values():
        part.pop("waiting", None)
    return state


def first_difference(one: Any, other: Any, place: str = "") -> str:
    """Where two states differ, `model.0.weight`; empty where they do not. NaN is what the same bits are."""
    if isinstance(one, dict) and isinstance(other, dict):
        if one.keys() != other.keys():
            return f"{place} (its keys)".strip()
        return next((found for key in one if (found := first_difference(one[key], other[key], f"{place}.{key}".lstrip(".")))), "")
    if isinstance(one, list | tuple) and isinstance(other, list | tuple) and len(one) == len(other):
        pairs = enumerate(zip(one, other, strict=True))
        return next((found for number, (a, b) in pairs if (found := first_difference(a, b, f"{place}.{number}".lstrip(".")))), "")
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        alike = one.dtype == other.dtype and one.shape == other.shape and torch.equal(bits(one), bits(other))
        return "" if alike else place
    return "" if type(one) is type(other) and (one == other or (one != one and other != other)) else place


def bits(tensor: Tensor) -> Tensor:
    """The tensor's bytes."""
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
