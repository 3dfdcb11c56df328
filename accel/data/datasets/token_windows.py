"""Windows of the bytes or tokens of a text."""

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
"""Token after the end of the text, in the last window; no loss is taken there."""


class TokenWindows(Dataset[Tensor]):
    """Windows of a text: window i predicts tokens `i * context + 1` to `(i + 1) * context` from the tokens before.

    Every token after the first is predicted once. A window is (context + 1,), int16 for bytes and int32 for other tokens; the last
    one ends in `PADDING` where the text ends.

    Args:
        text: (n,) of whole numbers, at least 2 of them; may be memory-mapped.
        context: targets per window.
        vocabulary: every token must be below it; None where that is known.

    Raises:
        ConfigError: for a token that is not below `vocabulary`, when its window is read.
    """

    def __init__(self, text: NDArray[Any], context: int, vocabulary: int | None = None) -> None:
        self.text, self.context, self.vocabulary = text, context, vocabulary
        self.tokens_per_sample = context
        """Tokens that a window predicts, which `max_tokens` counts."""
        self.shape, self.dtype = (context + 1,), np.int16 if text.dtype == np.uint8 else np.int32

    def __len__(self) -> int:
        return -(-(len(self.text) - 1) // self.context)

    def __getitem__(self, index: int) -> Tensor:
        return self.window_at(index * self.context)

    def fill(self, index: int, rng: np.random.Generator, out: NDArray[Any]) -> None:
        """Write window `index` into `out`, (context + 1,)."""
        self.write_window(index * self.context, out)

    def window_at(self, start: int) -> Tensor:
        """Return the window whose first token is number `start`, (context + 1,)."""
        window = np.empty(self.shape, self.dtype)
        self.write_window(start, window)
        return torch.from_numpy(window)

    def write_window(self, start: int, out: NDArray[Any]) -> None:
        """Write the window whose first token is number `start` into `out`, (context + 1,)."""
        part = self.text[start : start + self.context + 1]
        if self.vocabulary is not None and (largest := int(part.max())) >= self.vocabulary:
            raise ConfigError(
                f"the token {largest}, behind number {start:,}, is not below task.vocabulary={self.vocabulary}; make that larger"
            )
        out[: len(part)] = part
        out[len(part) :] = PADDING


class JitteredTokenWindows(TokenWindows):
    """Windows of a text, each moved by up to half its length either way, anew in every epoch, so that the borders move too."""

    def sample(self, index: int, rng: np.random.Generator) -> Tensor:
        """Return window `index`, with its random numbers of this epoch."""
        return self.window_at(self.draw_start(index, rng))

    def fill(self, index: int, rng: np.random.Generator, out: NDArray[Any]) -> None:
        self.write_window(self.draw_start(index, rng), out)

    def draw_start(self, index: int, rng: np.random.Generator) -> int:
        """Return the number of the first token of window `index` in this epoch."""
        half = self.context // 2
        start = index * self.context + int(rng.integers(-half, half + 1))
        return min(max(start, 0), len(self.text) - 2)
