"""Pictures that are small at first and grow to their full size."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def scale_at(time: float, first: float, until: float) -> float:
    """The share of the full side at `time` (both from 0 to 1): from `first`, linearly, to 1 at `until` and ever after."""
    return 1.0 if time >= until else first + (1 - first) * time / until


def side_at(scale: float, full: int, multiple: int) -> int:
    """`scale` of a side of `full` pixels, as the nearest multiple of `multiple`: at least one, and never above `full`."""
    return full if scale >= 1 else min(full, max(multiple, multiple * int(full * scale / multiple + 0.5)))


def resize(pictures: Tensor, height: int, width: int) -> Tensor:
    """The pictures at another size: bilinear, with the triangle widened where it shrinks them (antialiased).

    Without that, fine patterns would turn into coarse ones that are not there at the full size.

    Args:
        pictures: (batch, channels, any height, any width), floating point.
    """
    return F.interpolate(pictures, (height, width), mode="bilinear", antialias=True)
