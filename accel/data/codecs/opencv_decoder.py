"""Decoding and resampling of pictures, by OpenCV, which lets other threads run meanwhile."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from accel.errors import ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["decode", "mirror", "opencv", "resize"]


@cache
def opencv() -> Any:
    """The module, told once to keep to the thread that calls it: the loader has threads or processes of its own.

    Raises:
        ConfigError: where it is not installed.
    """
    try:
        import cv2
    except ModuleNotFoundError:
        raise ConfigError(
            "task.decoder=opencv and task.filter=linear or area need OpenCV: pip install 'accel-train[opencv]'"
        ) from None
    cv2.setNumThreads(0)
    return cv2


def decode(jpeg: bytes | bytearray | memoryview, width: int, height: int) -> NDArray[np.uint8] | None:
    """A JPEG as (height, width, 3) uint8 in RGB, not turned by its EXIF orientation; None where OpenCV cannot read it.

    `width` and `height` are its size in pixels: where OpenCV finds another it has read something else.
    """
    cv2 = opencv()
    try:
        found: NDArray[np.uint8] | None = cv2.imdecode(
            np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
        )
    except cv2.error:
        return None
    return found if found is not None and found.shape == (height, width, 3) else None


def resize(pixels: NDArray[np.uint8], area: bool, out: NDArray[np.uint8]) -> None:
    """`pixels` (height, width, 3) resampled to the size of `out` (height, width, 3); both uint8.

    Args:
        pixels: may be a part of a larger picture; nothing around it is looked at.
        area: the mean over each pixel's area where it shrinks, and bilinear where it grows; else bilinear between the four
            nearest pixels, which leaves out others where it shrinks by more than two.
        out: is filled.
    """
    cv2 = opencv()
    height, width, _ = out.shape
    there = out if out.flags.c_contiguous else None  # it takes no other memory
    found = cv2.resize(pixels, (width, height), dst=there, interpolation=cv2.INTER_AREA if area else cv2.INTER_LINEAR)
    if there is None:
        out[:] = found


def mirror(pixels: NDArray[np.uint8]) -> None:
    """Mirrors (height, width, 3) uint8 left to right, where it lies; contiguous."""
    opencv().flip(pixels, 1, dst=pixels)
