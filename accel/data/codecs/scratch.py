"""Memory for pictures on their way, one piece per thread, used again and again."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

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
