"""Whether two runs came to the same, to the last bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from accel import checkpoint

FILES = ("metrics.jsonl", "model.safetensors")


def difference(one: Path, other: Path) -> str:
    """The first thing in which the run in `one` differs from that in `other`, in words; empty where there is none.

    Compared are the last checkpoint (weights, the state of every part, random numbers, position, results) and `FILES`.
    """
    files = [checkpoint.find(str(out), None) for out in (one, other)]
    if files[0].name != files[1].name:
        return f"the last checkpoint is {files[0].name}, and {files[1].name} in the other"
    states = [checkpoint.load(file)[0] for file in files]
    place = odd(states[0], states[1])
    if place:
        return f"{place} in the last checkpoint"
    for name in FILES:
        mine, its = ((out / name).read_bytes() if (out / name).exists() else b"" for out in (one, other))
        if mine != its:
            at = next((i for i, (a, b) in enumerate(zip(mine, its, strict=False)) if a != b), min(len(mine), len(its)))
            where = f"line {mine[:at].count(10) + 1}" if name.endswith("jsonl") else f"byte {at:,}"
            return f"{name} at {where}"
    return ""


def odd(one: Any, other: Any, place: str = "") -> str:
    """Where two states differ, `model.0.weight`; empty where they do not. NaN is what the same bits are."""
    if isinstance(one, dict) and isinstance(other, dict):
        if one.keys() != other.keys():
            return f"{place} (its keys)".strip()
        return next((found for key in one if (found := odd(one[key], other[key], f"{place}.{key}".lstrip(".")))), "")
    if isinstance(one, list | tuple) and isinstance(other, list | tuple) and len(one) == len(other):
        pairs = enumerate(zip(one, other, strict=True))
        return next((found for number, (a, b) in pairs if (found := odd(a, b, f"{place}.{number}".lstrip(".")))), "")
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        alike = one.dtype == other.dtype and one.shape == other.shape and torch.equal(bits(one), bits(other))
        return "" if alike else place
    return "" if type(one) is type(other) and (one == other or (one != one and other != other)) else place


def bits(tensor: Tensor) -> Tensor:
    """The tensor's bytes."""
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
