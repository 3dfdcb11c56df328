"""Shift and flip of a whole batch of pictures at once, on the CPU, for pictures that are stored in the size of training."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from accel.data.sampling import reused_rng

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from accel.data.codecs.image_reader import ImageReader

__all__ = ["flipped", "random_words", "shifted"]


def random_words(seed: int, epoch: int, keys: list[int]) -> NDArray[np.uint64]:
    """Return the first two 64-bit words of each sample's random numbers: (n, 2)."""
    return np.stack([reused_rng(seed, epoch, key).bit_generator.random_raw(2) for key in keys])


def shifted(pictures: NDArray[np.uint8], pad: int, drawn: NDArray[np.uint64]) -> NDArray[np.uint8]:
    """Return each picture as `crops.padded` moves it, (n, height, width, 3).

    Args:
        pictures: (n, height, width, 3).
        pad: how far a picture may move each way, in pixels.
        drawn: (n,): the first word of each sample. Its lower half gives the place from the top, the upper one from the left.
    """
    count, height, width, _ = pictures.shape
    frames = np.zeros((count, height + 2 * pad, width + 2 * pad, 3), np.uint8)
    frames[:, pad : pad + height, pad : pad + width] = pictures
    span = np.uint64(2 * pad + 1)
    top, left = ((half * span >> np.uint64(32)).astype(np.intp) for half in (drawn & np.uint64(0xFFFFFFFF), drawn >> np.uint64(32)))
    frame, line, _, _ = frames.strides
    places = (count, 2 * pad + 1, 2 * pad + 1, height, 3 * width)
    views = np.lib.stride_tricks.as_strided(frames, places, (frame, line, 3, line, 1), writeable=False)
    moved: NDArray[np.uint8] = views[np.arange(count), top, left]
    return moved.reshape(pictures.shape)


def flipped(pictures: NDArray[np.uint8], drawn: NDArray[np.uint64], reader: ImageReader) -> None:
    """Mirror in place each picture whose word, as a number from 0 to 1, is below a half: its first bit is 0.

    Args:
        pictures: (n, height, width, 3).
        drawn: (n,): a word of each sample.
        reader: mirrors pictures.
    """
    mirrored = np.flatnonzero(drawn < np.uint64(2**63))
    if len(mirrored):
        chosen = pictures[mirrored]
        reader.mirror(chosen.reshape(-1, *chosen.shape[2:]))  # one below the other they are one tall picture
        pictures[mirrored] = chosen
