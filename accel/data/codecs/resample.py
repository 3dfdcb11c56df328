"""Resampling of a crop, from a whole picture or from the part of it that was decoded, by Pillow or by OpenCV."""

from __future__ import annotations

from math import ceil, floor
from typing import TYPE_CHECKING, Literal

import numpy as np

from accel.data.codecs import opencv_decoder
from accel.data.codecs.crops import Box
from accel.data.codecs.pillow_decoder import resample_part

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Filter", "filter_margin", "resample", "whole_pixels", "window", "write_part"]

Filter = Literal["antialias", "linear", "area"]
"""antialias: Pillow's triangle, widened to the scale if the crop shrinks. linear and area: OpenCV's, of boxes of whole pixels."""


def filter_margin(filter: Filter, box: Box, side: int) -> int:
    """Return the pixels that a filter reaches over the border of a box, at most."""
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
    """Return the part of a picture inside `box` as (side, side, 3) uint8.

    Args:
        filter: Filter that resamples.
        pixels: (height, width, 3) uint8: at least the box and its margin.
        at: Left and top of `pixels` in the picture, in pixels.
        size: Width and height of the picture, in pixels.
        box: Left, top, right, bottom in the picture, in pixels. linear and area move it to whole pixels.
        side: Of the result, in pixels.
        out: Array to fill and return; None for a new one.
    """
    if out is None:
        out = np.empty((side, side, 3), np.uint8)
    if filter == "antialias":
        reach = filter_margin(filter, box, side)
        left, top = max(at[0], floor(box[0]) - reach), max(at[1], floor(box[1]) - reach)
        part = pixels[top - at[1] : ceil(box[3]) + reach - at[1], left - at[0] : ceil(box[2]) + reach - at[0]]
        out[:] = resample_part(part, (left, top), size, box, side)
        return out
    write_part(pixels[window(at, size, box)], filter == "area", out)
    return out


def window(at: tuple[int, int], size: tuple[int, int], box: Box) -> tuple[slice, slice]:
    """Return the rows and columns of `pixels` that `resample` takes by the filters linear and area, whose arguments these are."""
    left, right = whole_pixels(box[0], box[2], size[0])
    top, bottom = whole_pixels(box[1], box[3], size[1])
    return slice(top - at[1], bottom - at[1]), slice(left - at[0], right - at[0])


def write_part(part: NDArray[np.uint8], area: bool, out: NDArray[np.uint8]) -> None:
    """Write (height, width, 3) uint8, resampled by the filter area or linear, into `out`, (side, side, 3) uint8."""
    if part.shape == out.shape:
        out[:] = part
    else:
        opencv_decoder.resize(part, area, out)


def whole_pixels(low: float, high: float, limit: int) -> tuple[int, int]:
    """Return the ends of an interval in whole pixels: its length rounded, and moved inside 0 to `limit`."""
    size = min(limit, max(1, floor(high - low + 0.5)))
    start = min(floor(low), limit - size)
    return start, start + size
