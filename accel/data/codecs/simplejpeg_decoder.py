"""simplejpeg as decoder of JPEGs: libjpeg-turbo without the interpreter's lock, into memory that each thread uses again."""

from __future__ import annotations

import threading
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from accel.system.machine import required

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["MAX_SCRATCH", "decode", "scratch", "simplejpeg"]

_thread = threading.local()
MAX_SCRATCH = 2**26
"""Bytes that a thread holds on to, at most: a picture of 22 megapixels. A larger one gets memory of its own."""


def scratch(size: int) -> NDArray[np.uint8]:
    """Return `size` bytes of this thread's own memory, (size,) uint8, which the thread's next call overwrites."""
    if size > MAX_SCRATCH:
        return np.empty(size, np.uint8)
    memory: NDArray[np.uint8] | None = getattr(_thread, "memory", None)
    if memory is None or len(memory) < size:
        memory = _thread.memory = np.empty(min(MAX_SCRATCH, size + size // 4), np.uint8)  # more, so that it soon stops growing
    return memory[:size]


@cache
def simplejpeg() -> Any:
    """Return the module simplejpeg.

    Raises:
        ConfigError: If simplejpeg is not installed.
    """
    with required("task.decoder=simplejpeg or scaled needs simplejpeg", "simplejpeg"):
        import simplejpeg
    return simplejpeg


def decode(
    jpeg: bytes | bytearray | memoryview, width: int, height: int, shrink: int = 1, strict: bool = True
) -> NDArray[np.uint8] | None:
    """Return a JPEG as (height, width, 3) uint8 in RGB, or None if simplejpeg cannot read it.

    EXIF orientation is ignored. The array is memory of this thread, good until the thread's next picture.

    Args:
        jpeg: The file.
        width: Of the JPEG, in pixels.
        height: Of the JPEG, in pixels.
        shrink: 1, 2, 4 or 8. Decode so many times smaller (rounded up), from the lowest frequencies alone.
        strict: Whether a mere warning of libjpeg counts as unreadable.
    """
    wide, high = -(-width // shrink), -(-height // shrink)
    # without the least sizes it does not shrink at all; with them it takes the smallest scale that reaches them
    least = {"min_height": high, "min_width": wide, "min_factor": shrink} if shrink > 1 else {}
    try:
        pixels: NDArray[np.uint8] = simplejpeg().decode_jpeg(
            jpeg, "RGB", buffer=scratch(3 * width * height), strict=strict, **least
        )
    except ValueError:
        return None
    return pixels if pixels.shape[:2] == (high, wide) else None
