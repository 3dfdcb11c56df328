"""OpenCV as decoder and resampler of pictures. It releases the interpreter's lock meanwhile."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from accel.system.machine import required

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["decode", "mirror", "opencv", "resize"]


@cache
def opencv() -> Any:
    """Return the module cv2, set to one thread: loaders have threads or processes of their own.

    Raises:
        ConfigError: If OpenCV is not installed.
    """
    with required("task.decoder=opencv and task.filter=linear or area need OpenCV", "opencv"):
        import cv2
    cv2.setNumThreads(0)
    return cv2


def decode(jpeg: bytes | bytearray | memoryview, width: int, height: int) -> NDArray[np.uint8] | None:
    """Return a JPEG as (height, width, 3) uint8 in RGB, or None if OpenCV cannot read it.

    EXIF orientation is ignored. `width` and `height` are the JPEG's own, in pixels: OpenCV misread a picture of another size.
    """
    cv2 = opencv()
    try:
        pixels: NDArray[np.uint8] | None = cv2.imdecode(
            np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
        )
    except cv2.error:
        return None
    return pixels if pixels is not None and pixels.shape == (height, width, 3) else None


def resize(pixels: NDArray[np.uint8], area: bool, out: NDArray[np.uint8]) -> None:
    """Resample `pixels` to the size of `out`.

    Args:
        pixels: (height, width, 3) uint8; may be a part of a larger picture, whose other pixels are not read.
        area: Take the mean over each new pixel's area if the picture shrinks, and interpolate bilinearly if it grows. Otherwise
            always interpolate between the four nearest pixels, which leaves others out if the picture shrinks by more than two.
        out: (height, width, 3) uint8, filled in place.
    """
    cv2 = opencv()
    height, width, _ = out.shape
    target = out if out.flags.c_contiguous else None  # it takes no other memory
    resized = cv2.resize(pixels, (width, height), dst=target, interpolation=cv2.INTER_AREA if area else cv2.INTER_LINEAR)
    if target is None:
        out[:] = resized


def mirror(pixels: NDArray[np.uint8]) -> None:
    """Mirror contiguous (height, width, 3) uint8 left to right, in place."""
    opencv().flip(pixels, 1, dst=pixels)
