"""The bytes or tokens of a file in windows."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from accel.errors import ConfigError

__all__ = ["PADDING", "JitteredTokenWindows", "TokenWindows"]

PADDING = -1
"""Stands after the end of the text, in the last window; no loss is taken there."""


class TokenWindows(Dataset[Tensor]):
    """Every token after the first, once: window i predicts tokens `i * context + 1` to `(i + 1) * context` from those before.

    A window is (context + 1,) int16 of bytes, int32 of other tokens; the last one ends in `PADDING` where the text ends.

    Args:
        text: (n,) of whole numbers, at least 2 of them; may be memory-mapped.
        context: targets per window.
        below: what every token must be below; None where that is known.

    Raises:
        ConfigError: when a window is read, for a token that is not below `below`.
    """

    def __init__(self, text: NDArray[Any], context: int, below: int | None = None) -> None:
        self.text, self.context, self.below = text, context, below
        self.shape, self.dtype = (context + 1,), np.int16 if text.dtype == np.uint8 else np.int32

    def __len__(self) -> int:
        return -(-(len(self.text) - 1) // self.context)

    def __getitem__(self, index: int) -> Tensor:
        return self.at(index * self.context)

    def fill(self, index: int, rng: np.random.Generator, out: NDArray[Any]) -> None:
        """Window `index`, written into `out`."""
        self.put(index * self.context, out)

    def at(self, start: int) -> Tensor:
        """The window whose first token is number `start`."""
        window = np.empty(self.shape, self.dtype)
        self.put(start, window)
        return torch.from_numpy(window)

    def put(self, start: int, out: NDArray[Any]) -> None:
        """The same, written into `out`."""
        part = self.text[start : start + self.context + 1]
        if self.below is not None and (worst := int(part.max())) >= self.below:
            raise ConfigError(
                f"the token {worst}, behind number {start:,}, is not below task.vocabulary={self.below}; make that larger"
            )
        out[: len(part)] = part
        out[len(part) :] = PADDING


class JitteredTokenWindows(TokenWindows):
    """The same windows, each moved by up to half its length either way, anew in every epoch, so that the borders move too."""

    def sample(self, index: int, rng: np.random.Generator) -> Tensor:
        """Window `index`, with its random numbers of this epoch."""
        return self.at(self.start(index, rng))

    def fill(self, index: int, rng: np.random.Generator, out: NDArray[Any]) -> None:
        self.put(self.start(index, rng), out)

    def start(self, index: int, rng: np.random.Generator) -> int:
        """Where window `index` begins in this epoch."""
        half = self.context // 2
        start = index * self.context + int(rng.integers(-half, half + 1))
        return min(max(start, 0), len(self.text) - 2)
