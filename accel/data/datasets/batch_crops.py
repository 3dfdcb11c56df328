"""Pictures that are stored in the size of training, a batch of them at once: what is done to each is done to all together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from accel.data.sampling import borrowed_rng

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from accel.data.codecs.image_reader import Reader

__all__ = ["flipped", "random_words", "shifted"]


def random_words(seed: int, epoch: int, keys: list[int]) -> NDArray[np.uint64]:
    """The first two 64-bit words of each sample's random numbers. (n, 2)."""
    return np.stack([borrowed_rng(seed, epoch, key).bit_generator.random_raw(2) for key in keys])


def shifted(pictures: NDArray[np.uint8], pad: int, drawn: NDArray[np.uint64]) -> NDArray[np.uint8]:
    """Each picture as `crops.padded` moves it.

    Args:
        pictures: (n, height, width, 3).
        drawn: (n,), the word that each draws first: its lower half says how far from the top, the upper one how far from the left.
    """
    count, height, width, _ = pictures.shape
    frames = np.zeros((count, height + 2 * pad, width + 2 * pad, 3), np.uint8)
    frames[:, pad : pad + height, pad : pad + width] = pictures
    span = np.uint64(2 * pad + 1)
    top, left = ((half * span >> np.uint64(32)).astype(np.intp) for half in (drawn & np.uint64(0xFFFFFFFF), drawn >> np.uint64(32)))
    frame, line, _, _ = frames.strides
    places = (count, 2 * pad + 1, 2 * pad + 1, height, 3 * width)
    views = np.lib.stride_tricks.as_strided(frames, places, (frame, line, 3, line, 1), writeable=False)
    found: NDArray[np.uint8] = views[np.arange(count), top, left]
    return found.reshape(pictures.shape)


def flipped(pictures: NDArray[np.uint8], drawn: NDArray[np.uint64], reader: Reader) -> None:
    """Mirrors those of which `drawn`, (n,), makes a number from 0 to 1 that is below a half: its first bit is 0."""
    which = np.flatnonzero(drawn < np.uint64(2**63))
    if len(which):
        chosen = pictures[which]
        reader.mirror(chosen.reshape(-1, *chosen.shape[2:]))  # one below the other they are one tall picture
        pictures[which] = chosen
