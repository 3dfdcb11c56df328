"""Shift and flip of pictures of one size: declared by a data set that draws for one at a time, and drawn here for many."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from accel.data.philox import upper
from accel.data.sampling import sample_words

__all__ = ["NO_EPOCH", "Edge", "Flip", "PaddedFrames", "ShiftFlip", "frame_shape", "reflected_indices"]

Flip = Literal["none", "random", "alternate"]
Edge = Literal["black", "reflect"]
NO_EPOCH = 2**63
"""The epoch of random numbers that a sample keeps for good."""


@dataclass(frozen=True)
class ShiftFlip:
    """Augmentation that a data set's `sample(index, rng)` applies to its `data[index]`, (height, width, channels): no more.

    If there is a pad, the sample's first two 32-bit numbers, times `2 * pad + 1` and divided by 2^32, place the window.
    They count from the top and from the left (`crops.padded`). Then one 53-bit number below a half mirrors (`ImageReader.mirror`).

    Args:
        pad: pixels that a picture may move up, down, left and right.
        flip: whether it is mirrored left to right: never; at random, every other time; or in every other epoch. The last begins
            with the first or the second epoch by a draw of its own (arXiv 2404.00498).
        edge: the pixels from outside: black, or the picture reflected at its border.
    """

    pad: int = 0
    flip: Flip = "none"
    edge: Edge = "black"

    def draw(self, seed: int, epoch: int, indices: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the window of each sample: its top, its left, and 1 if it is mirrored after that. Three times (n,) int64.

        It is a function of (seed, epoch, index), the same on every device, and agrees with the sample's own `sample_rng`.

        Args:
            seed: of the run.
            epoch: from 0.
            indices: (n,) int64, on any device.
        """
        top = left = mirrored = torch.zeros_like(indices)
        if not self.pad and self.flip == "none":
            return top, left, mirrored
        words = iter(sample_words(seed, epoch, indices))
        if self.pad:
            word, span = next(words), 2 * self.pad + 1
            top, left = (word & 0xFFFFFFFF) * span >> 32, upper(word) * span >> 32
        if self.flip == "random":
            mirrored = (next(words) >= 0).long()  # the first of the 64 bits is 0: the number is below a half
        elif self.flip == "alternate":
            mirrored = (sample_words(seed, NO_EPOCH, indices)[0] + epoch) & 1
        return top, left, mirrored


class PaddedFrames:
    """Pictures on a device with all pixels that may come in at their borders, and their mirror images: a batch is one gather.

    Args:
        pictures: (n, height, width, channels), of any dtype.
        shift_flip: gives pad, flip and edge.
        device: where the frames live.
    """

    def __init__(self, pictures: Tensor, shift_flip: ShiftFlip, device: torch.device) -> None:
        self.pad, (self.count, height, width, channels) = shift_flip.pad, pictures.shape
        copies, frame_height, frame_width = frame_shape(pictures.shape, shift_flip)
        frames = torch.zeros(copies, self.count, frame_height, frame_width, channels, dtype=pictures.dtype, device=device)
        rows, columns = (reflected_indices(side, self.pad).to(device) for side in (height, width))
        inside = slice(self.pad, self.pad + height), slice(self.pad, self.pad + width)
        for start in range(0, self.count, 4096):  # in pieces: no second copy of the whole
            part = slice(start, start + 4096)
            originals = pictures[part].to(device)
            if shift_flip.edge == "reflect":
                frames[0, part] = originals[:, rows][:, :, columns]
            else:
                frames[0, part][:, *inside] = originals
            if copies == 2:
                frames[1, part] = frames[0, part].flip(2)
        line, frame = frame_width * channels, frame_height * frame_width * channels
        self.bytes, self.shape = frames.nbytes, (height, width, channels)
        self.views = frames.as_strided(
            (copies * self.count, 2 * self.pad + 1, 2 * self.pad + 1, height, width * channels), (frame, line, channels, line, 1)
        )
        # numpy copies whole lines where torch copies bytes: 0.7 against 3 microseconds for a picture of CIFAR-10
        self.lines = self.views.numpy() if device.type == "cpu" else None

    def gather(self, indices: Tensor, top: Tensor, left: Tensor, mirrored: Tensor) -> Tensor:
        """Return the pictures (n, height, width, channels), each through its window (`ShiftFlip.draw`)."""
        # the mirror image of a window lies as far from the right of the mirror image as the window from the left
        places = indices + mirrored * self.count, top, torch.where(mirrored > 0, 2 * self.pad - left, left)
        if self.lines is not None:
            pictures = torch.from_numpy(self.lines[tuple(place.numpy() for place in places)])
        else:
            pictures = self.views[places]
        return pictures.view(-1, *self.shape)


def frame_shape(shape: tuple[int, ...], shift_flip: ShiftFlip) -> tuple[int, int, int]:
    """Return the number of copies of pictures (n, height, width, channels) that are kept, and the height and width of each."""
    return 1 + (shift_flip.flip != "none"), shape[1] + 2 * shift_flip.pad, shape[2] + 2 * shift_flip.pad


def reflected_indices(side: int, pad: int) -> Tensor:
    """Return the pixel of `side` at each place of a line with `pad` more at either end: 2 1 0 1 2 3 2 1. (side + 2 * pad,)."""
    places = torch.arange(-pad, side + pad, device="cpu").abs()
    return torch.where(places < side, places, 2 * (side - 1) - places)
