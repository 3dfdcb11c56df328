"""Decoder of JPEGs by simplejpeg: libjpeg-turbo without the interpreter's lock, into memory that is used again, per thread."""

from __future__ import annotations

import threading
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from accel.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["KEPT", "decode", "scratch", "simplejpeg"]

_of_thread = threading.local()
KEPT = 2**26
"""Bytes that a thread holds on to, at most: a picture of 22 megapixels. A larger one gets memory of its own."""


def scratch(size: int) -> NDArray[np.uint8]:
    """`size` bytes of this thread's own memory, uint8; what stood there before is gone with the next call."""
    if size > KEPT:
        return np.empty(size, np.uint8)
    held: NDArray[np.uint8] | None = getattr(_of_thread, "held", None)
    if held is None or len(held) < size:
        held = _of_thread.held = np.empty(min(KEPT, size + size // 4), np.uint8)  # some more, so that it soon stops growing
    return held[:size]


@cache
def simplejpeg() -> Any:
    """The module.

    Raises:
        ConfigError: where it is not installed.
    """
    try:
        import simplejpeg as module
    except ModuleNotFoundError:
        raise ConfigError("task.decoder=simplejpeg or scaled needs simplejpeg: pip install 'accel-train[simplejpeg]'") from None
    return module


def decode(
    jpeg: bytes | bytearray | memoryview, width: int, height: int, shrink: int = 1, strict: bool = True
) -> NDArray[np.uint8] | None:
    """A JPEG as (height, width, 3) uint8 in RGB, not turned by its EXIF orientation; None where simplejpeg cannot read it.

    Args:
        jpeg: the file.
        width, height: its size in pixels.
        shrink: 1, 2, 4 or 8: so many times smaller (rounded up), from the lowest frequencies alone.
        strict: whether what libjpeg only warns of counts as unreadable.

    Returns:
        memory of this thread, good until its next picture.
    """
    wide, high = -(-width // shrink), -(-height // shrink)
    # without the least sizes it does not shrink at all; with them it takes the smallest scale that reaches them
    least = {"min_height": high, "min_width": wide, "min_factor": shrink} if shrink > 1 else {}
    try:
        found: NDArray[np.uint8] = simplejpeg().decode_jpeg(jpeg, "RGB", buffer=scratch(3 * width * height), strict=strict, **least)
    except ValueError:
        return None
    return found if found.shape[:2] == (high, wide) else None
