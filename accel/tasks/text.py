"""Any file, byte by byte."""

from __future__ import annotations

from math import log
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn
from torch.nn import functional as F

from accel.data.windows import PADDING, Jittered, Windows
from accel.errors import ConfigError
from accel.models.gpt import GPT
from accel.tasks.check import check
from accel.trainer import Trainer
from accel.values import Count, Decay

HELD_OUT = 10
"""One in so many bytes, at the end of the file, is kept for evaluation."""


class Text(Trainer):
    """Predicts the next byte of a file with a small GPT; the loss is a mean over bytes, however many a batch holds.

    Args:
        path: the file; its last tenth is held out.
        context: how many bytes the model looks back on.
        layers: transformer blocks.
        heads: attention heads per block; width must be a multiple.
        width: channels.
        dropout: share of each block's output set to zero in training.
    """

    def __init__(
        self,
        path: str,
        context: Count = 128,
        layers: Count = 4,
        heads: Count = 4,
        width: Count = 128,
        dropout: Decay = 0.0,
        **run: Any,
    ) -> None:
        super().__init__(**run)
        path = str(path) if isinstance(path, Path) else path
        check(Text, path=path, context=context, layers=layers, heads=heads, width=width, dropout=dropout)
        if width % heads:
            raise ConfigError(f"task.width must be a multiple of task.heads, and {width} is none of {heads}")
        self.context, self.layers, self.heads, self.width, self.dropout = context, layers, heads, width, dropout
        self.text = open_text(Path(path).expanduser(), context)

    def model(self) -> nn.Module:
        return GPT(256, self.context, self.layers, self.heads, self.width, self.dropout)

    def data(self, split: str) -> Windows:
        border = len(self.text) - len(self.text) // HELD_OUT
        if split == "train":
            return Jittered(self.text[:border], self.context)
        return Windows(self.text[border:], self.context)

    def loss(self, model: nn.Module, batch: Tensor) -> tuple[Tensor, Tensor]:
        tokens = batch.long()
        targets = tokens[:, 1:]
        # padding stands behind every byte that counts, and nothing looks ahead: what it is taken for does not matter
        logits = model(tokens[:, :-1].clamp(min=0))
        loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=PADDING)
        return loss, (targets != PADDING).sum()

    def metrics(self, model: nn.Module, batch: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        loss, tokens = self.loss(model, batch)
        return {"loss": loss, "bits_per_byte": loss / log(2)}, tokens


def open_text(path: Path, context: int) -> np.memmap[Any, np.dtype[np.uint8]]:
    """The bytes of a file, memory-mapped and read-only: (n,) uint8.

    Raises:
        ConfigError: where there is no such file, or it is too small for one window of training.
    """
    if not path.is_file():
        what = "that is a folder" if path.is_dir() else "that is no file with bytes to go back to" if path.exists() else ""
        raise ConfigError(f"task.path={path}: {f'{what}; name a file' if what else 'there is no such file'}")
    size, least = path.stat().st_size, max(2 * HELD_OUT, -(-(context + 1) * HELD_OUT // (HELD_OUT - 1)))
    if size < least:
        raise ConfigError(f"task.path={path} has {size} bytes, and task.context={context} needs {least} or more")
    try:
        return np.memmap(path, np.uint8, mode="r")
    except OSError as error:
        raise ConfigError(f"task.path={path} cannot be read: {error.strerror}") from None
