"""Resampling of a picture, or of the part of it that was decoded, by Pillow or by OpenCV."""

from __future__ import annotations

from math import ceil, floor
from typing import TYPE_CHECKING, Literal

import numpy as np

from accel.data.codecs import opencv_decoder
from accel.data.codecs.crops import Box
from accel.data.codecs.pillow_decoder import resample_part

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Filter", "margin", "resample", "whole"]

Filter = Literal["antialias", "linear", "area"]
"""antialias: Pillow's triangle, widened to the scale where it shrinks. linear and area: OpenCV's, of boxes of whole pixels."""


def margin(filter: Filter, box: Box, side: int) -> int:
    """How many pixels a filter reaches over the border of a box, at most."""
    return 0 if filter != "antialias" else ceil(max(box[2] - box[0], box[3] - box[1]) / side) + 1


def resample(
    filter: Filter,
    pixels: NDArray[np.uint8],
    at: tuple[int, int],
    size: tuple[int, int],
    box: Box,
    side: int,
    out: NDArray[np.uint8] | None = None,
) -> NDArray[np.uint8]:
    """The part of a picture inside `box` (left, top, right, bottom in pixels) as (side, side, 3) uint8.

    Args:
        filter: who resamples.
        pixels: (height, width, 3) uint8: the box and its margin, at least.
        at: their left and top in the picture.
        size: width and height of the picture.
        box: in the picture; linear and area move it to whole pixels.
        side: of what comes out, in pixels.
        out: is filled and handed back, where given.
    """
    if out is None:
        out = np.empty((side, side, 3), np.uint8)
    if filter == "antialias":
        reach = margin(filter, box, side)
        left, top = max(at[0], floor(box[0]) - reach), max(at[1], floor(box[1]) - reach)
        part = pixels[top - at[1] : ceil(box[3]) + reach - at[1], left - at[0] : ceil(box[2]) + reach - at[0]]
        out[:] = resample_part(part, (left, top), size, box, side)
        return out
    left, right = whole(box[0], box[2], size[0])
    top, bottom = whole(box[1], box[3], size[1])
    part = pixels[top - at[1] : bottom - at[1], left - at[0] : right - at[0]]
    if part.shape == out.shape:
        out[:] = part
    else:
        opencv_decoder.resize(part, filter == "area", out)
    return out


def whole(low: float, high: float, limit: int) -> tuple[int, int]:
    """The two ends of an interval in whole pixels: as long as it is, rounded, and inside the picture."""
    size = min(limit, max(1, floor(high - low + 0.5)))
    start = min(floor(low), limit - size)
    return start, start + size
