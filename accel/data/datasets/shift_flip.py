"""How training moves pictures of one size: said by the data set that draws for one at a time, and drawn here for many."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from accel.data.philox import upper
from accel.data.sampling import sample_words

__all__ = ["NO_EPOCH", "Edge", "Flip", "PaddedFrames", "ShiftFlip", "reflected", "size"]

Flip = Literal["none", "random", "alternate"]
Edge = Literal["black", "reflect"]
NO_EPOCH = 2**63
"""Stands for the epoch in numbers that a sample keeps for good."""


@dataclass(frozen=True)
class ShiftFlip:
    """What a data set's `sample(index, rng)` does to its `data[index]`, (height, width, channels), and nothing else.

    First two 32-bit numbers of the sample's own, times `2 * pad + 1` and divided by 2^32, are the place of the window from the
    top and from the left (`crops.padded`), where there is a pad; then one 53-bit number below a half mirrors (`crops.mirrored`).

    Args:
        pad: how many pixels a picture may move up, down, left and right.
        flip: whether it is mirrored left to right: never, every other time at random, or in every other epoch, beginning
            with the first or the second by a draw of its own (arXiv 2404.00498).
        edge: what comes in from outside: black, or the picture reflected at its border.
    """

    pad: int = 0
    flip: Flip = "none"
    edge: Edge = "black"

    def draw(self, seed: int, epoch: int, indices: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The window of each sample: its top, its left, and whether it is mirrored after that. Three times (n,) int64.

        A function of (seed, epoch, index), the same on every device, and that of the sample's own `sample_rng`.
        """
        top = left = mirrored = torch.zeros_like(indices)
        if not self.pad and self.flip == "none":
            return top, left, mirrored
        words = iter(sample_words(seed, epoch, indices))
        if self.pad:
            both, span = next(words), 2 * self.pad + 1
            top, left = (both & 0xFFFFFFFF) * span >> 32, upper(both) * span >> 32
        if self.flip == "random":
            mirrored = (next(words) >= 0).long()  # the first of the 64 bits is 0: the number is below a half
        elif self.flip == "alternate":
            mirrored = (sample_words(seed, NO_EPOCH, indices)[0] + epoch) & 1
        return top, left, mirrored


class PaddedFrames:
    """Pictures on a device with all that may come in at their borders, and their mirror images, so that a batch is one gather.

    Args:
        pictures: (n, height, width, channels), of any dtype.
        moves: pad, flip and edge are taken from it.
        device: where they shall live.
    """

    def __init__(self, pictures: Tensor, moves: ShiftFlip, device: torch.device) -> None:
        self.pad, (self.count, height, width, channels) = moves.pad, pictures.shape
        copies, high, wide = size(pictures.shape, moves)
        frames = torch.zeros(copies, self.count, high, wide, channels, dtype=pictures.dtype, device=device)
        rows, columns = (reflected(side, self.pad).to(device) for side in (height, width))
        inside = slice(self.pad, self.pad + height), slice(self.pad, self.pad + width)
        for start in range(0, self.count, 4096):  # in pieces: no second copy of the whole
            part = slice(start, start + 4096)
            given = pictures[part].to(device)
            if moves.edge == "reflect":
                frames[0, part] = given[:, rows][:, :, columns]
            else:
                frames[0, part][:, *inside] = given
            if copies == 2:
                frames[1, part] = frames[0, part].flip(2)
        line, frame = wide * channels, high * wide * channels
        self.bytes, self.shape = frames.nbytes, (height, width, channels)
        self.views = frames.as_strided(
            (copies * self.count, 2 * self.pad + 1, 2 * self.pad + 1, height, width * channels), (frame, line, channels, line, 1)
        )
        # numpy copies whole lines where torch copies bytes: 0.7 against 3 microseconds for a picture of CIFAR-10
        self.lines = self.views.numpy() if device.type == "cpu" else None

    def gather(self, indices: Tensor, top: Tensor, left: Tensor, mirrored: Tensor) -> Tensor:
        """The pictures (n, height, width, channels), each through its window (`Moves.draw`)."""
        # the mirror image of a window lies as far from the right of the mirror image as the window from the left
        places = indices + mirrored * self.count, top, torch.where(mirrored > 0, 2 * self.pad - left, left)
        if self.lines is not None:
            found = torch.from_numpy(self.lines[tuple(place.numpy() for place in places)])
        else:
            found = self.views[places]
        return found.view(-1, *self.shape)


def size(shape: tuple[int, ...], moves: ShiftFlip) -> tuple[int, int, int]:
    """How many copies of pictures (n, height, width, channels) are kept, and the height and width of each."""
    return 1 + (moves.flip != "none"), shape[1] + 2 * moves.pad, shape[2] + 2 * moves.pad


def reflected(side: int, pad: int) -> Tensor:
    """Which of `side` pixels stands where, in a line with `pad` more at either end: 2 1 0 1 2 3 2 1. (side + 2 * pad,) int64."""
    places = torch.arange(-pad, side + pad, device="cpu").abs()
    return torch.where(places < side, places, 2 * (side - 1) - places)
