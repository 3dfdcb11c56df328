"""The bytes of a file in windows."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

PADDING = -1
"""Stands after the end of the text, in the last window; no loss is taken there."""


class Windows(Dataset[Tensor]):
    """Every byte after the first, once: window i predicts bytes `i * context + 1` to `(i + 1) * context` from those before.

    A window is (context + 1,) int16; the last one ends in `PADDING` where the text ends.

    Args:
        text: (n,) uint8, at least 2 of them; may be memory-mapped.
        context: targets per window.
    """

    def __init__(self, text: NDArray[np.uint8], context: int) -> None:
        self.text, self.context = text, context

    def __len__(self) -> int:
        return -(-(len(self.text) - 1) // self.context)

    def __getitem__(self, index: int) -> Tensor:
        return self.at(index * self.context)

    def at(self, start: int) -> Tensor:
        """The window whose first byte is number `start`."""
        window = np.full(self.context + 1, PADDING, np.int16)
        part = self.text[start : start + self.context + 1]
        window[: len(part)] = part
        return torch.from_numpy(window)


class Jittered(Windows):
    """The same windows, each moved by up to half its length either way, anew in every epoch, so that the borders move too."""

    def sample(self, index: int, rng: np.random.Generator) -> Tensor:
        """Window `index`, with its random numbers of this epoch."""
        half = self.context // 2
        start = index * self.context + int(rng.integers(-half, half + 1))
        return self.at(min(max(start, 0), len(self.text) - 2))
