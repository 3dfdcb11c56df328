"""Name, shape and type of an input or output of exported files."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["TensorInfo"]


class TensorInfo(NamedTuple):
    """Name, shape and type of an input or output."""

    name: str
    shape: tuple[int | str, ...]
    """Sizes; of a dimension that may change, its name."""
    type: str
    """As numpy calls it: `float32`."""
