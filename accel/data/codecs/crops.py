"""Which part of a picture is shown, and how: pure functions of the picture's size and of a sample's own random numbers."""

from __future__ import annotations

from math import exp, log, sqrt
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Box", "centre", "padded", "random_resized"]

Box = tuple[float, float, float, float]
"""Left, top, right, bottom, in pixels."""


def centre(width: int, height: int, share: float = 1.0) -> Box:
    """The centred square whose side is `share` of the shorter side."""
    side = min(width, height) * share
    left, top = (width - side) / 2, (height - side) / 2
    return left, top, left + side, top + side


def random_resized(
    width: int, height: int, rng: np.random.Generator, area: tuple[float, float] = (0.08, 1.0), ratio: float = 4 / 3
) -> Box:
    """A box of random area and shape, uniform in area and in the logarithm of the shape, wherever it fits.

    Source: Szegedy et al., Going Deeper with Convolutions, arXiv 1409.4842, as torchvision's RandomResizedCrop draws it.

    Args:
        width, height: of the picture, in pixels.
        rng: the sample's random numbers.
        area: the least and the largest share of the picture.
        ratio: the box is at most so many times as wide as high, and as high as wide.
    """
    for _ in range(10):
        # low + (high - low) * random() is what rng.uniform(low, high) computes, in a third of the time
        size = width * height * (area[0] + (area[1] - area[0]) * rng.random())
        shape = exp(-log(ratio) + 2 * log(ratio) * rng.random())
        wide, high = round(sqrt(size * shape)), round(sqrt(size / shape))
        if 0 < wide <= width and 0 < high <= height:
            left, top = int(rng.integers(width - wide + 1)), int(rng.integers(height - high + 1))
            return left, top, left + wide, top + high
    # hardly ever: a picture so long that no box of a fair shape fits; the largest centred one that does
    wide, high = min(width, round(height * ratio)), min(height, round(width * ratio))
    left, top = (width - wide) // 2, (height - high) // 2
    return left, top, left + wide, top + high


def padded(picture: NDArray[np.uint8], pad: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """The picture (height, width, 3) moved by up to `pad` pixels either way; what comes in from outside is black."""
    height, width, _ = picture.shape
    frame = np.zeros((height + 2 * pad, width + 2 * pad, 3), np.uint8)
    frame[pad : pad + height, pad : pad + width] = picture
    # the upper half of a product, and nothing drawn again: so each number is a function of 32 known bits (see `moves`)
    product = rng.integers(2**32, size=2, dtype=np.uint32).astype(np.uint64) * np.uint64(2 * pad + 1)
    top, left = (product >> np.uint64(32)).tolist()  # numpy before 2.0 adds a uint64 and an int to a float
    return frame[top : top + height, left : left + width]
