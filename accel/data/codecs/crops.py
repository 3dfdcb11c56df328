"""Crop boxes: pure functions of a picture's size and of a sample's own random numbers."""

from __future__ import annotations

from collections.abc import Callable
from math import exp, log, sqrt
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["LOW", "UNIT", "Box", "centre", "padded", "random_resized", "whole_numbers"]

Box = tuple[float, float, float, float]
"""Left, top, right, bottom, in pixels."""
LOW = 0xFFFFFFFF
"""The lower 32 of 64 bits."""
UNIT = 2.0**-53
"""By which the upper 53 bits of a word are a number from 0 to below 1, as `rng.random` makes it."""


def centre(width: int, height: int, share: float = 1.0) -> Box:
    """Return the centred square whose side is `share` of the shorter side."""
    side = min(width, height) * share
    left, top = (width - side) / 2, (height - side) / 2
    return left, top, left + side, top + side


def random_resized(
    width: int, height: int, rng: np.random.Generator, area: tuple[float, float] = (0.08, 1.0), ratio: float = 4 / 3
) -> Box:
    """Return a box of random area and aspect ratio, at a random place.

    The area is uniform, and so is the logarithm of the ratio. Every place where the box fits is equally likely.

    Source: Szegedy et al., Going Deeper with Convolutions, arXiv 1409.4842; drawn as torchvision's RandomResizedCrop draws it.

    Args:
        width: Of the picture, in pixels.
        height: Of the picture, in pixels.
        rng: Random numbers of the sample. Its words are taken as numpy takes them, whose calls need twice the time.
        area: Smallest and largest area of the box, as a share of the picture's.
        ratio: Largest aspect ratio, width to height and height to width.
    """
    draw, spread = rng.bit_generator.random_raw, log(ratio)
    for _ in range(10):
        # low + (high - low) * random is what rng.uniform(low, high) computes from a word
        size = width * height * (area[0] + (area[1] - area[0]) * ((draw() >> 11) * UNIT))
        shape = exp(-spread + 2 * spread * ((draw() >> 11) * UNIT))
        wide, high = round(sqrt(size * shape)), round(sqrt(size / shape))
        if 0 < wide <= width and 0 < high <= height:
            left, top = whole_numbers(draw, width - wide + 1, height - high + 1)
            return left, top, left + wide, top + high
    # hardly ever: a picture so long that no box of a fair shape fits; the largest centred one that does
    wide, high = min(width, round(height * ratio)), min(height, round(width * ratio))
    left, top = (width - wide) // 2, (height - high) // 2
    return left, top, left + wide, top + high


def whole_numbers(draw: Callable[[], int], *limits: int) -> list[int]:
    """Return a whole number from 0 to below each of `limits`, as `rng.integers` draws them.

    A word gives two numbers, the lower half first. Halves that would favour some numbers are passed over (arXiv 1805.10941).

    Args:
        draw: returns the next 64-bit word of a bit generator.
        limits: from 1, and below 2^32; 1 needs no half.
    """
    numbers, halves = [], list[int]()
    for limit in limits:
        number = 0
        while limit > 1:
            if not halves:
                word = draw()
                halves = [word >> 32, word & LOW]
            product = halves.pop() * limit
            number = product >> 32
            if product & LOW >= 2**32 % limit:
                break
        numbers.append(number)
    return numbers


def padded(picture: NDArray[np.uint8], pad: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return a random crop, of the picture's own size, of the picture padded with black.

    Args:
        picture: (height, width, 3) uint8.
        pad: Pixels added on each side, and so the largest shift either way.
        rng: Random numbers of the sample.
    """
    height, width, _ = picture.shape
    frame = np.zeros((height + 2 * pad, width + 2 * pad, 3), np.uint8)
    frame[pad : pad + height, pad : pad + width] = picture
    # the upper half of a product, and nothing drawn again: so each number is a function of 32 known bits (see `shift_flip`)
    product = rng.integers(2**32, size=2, dtype=np.uint32).astype(np.uint64) * np.uint64(2 * pad + 1)
    top, left = (product >> np.uint64(32)).tolist()  # numpy before 2.0 adds a uint64 and an int to a float
    return frame[top : top + height, left : left + width]
