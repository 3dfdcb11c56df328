"""Task of text: any file, byte by byte or token by token."""

from __future__ import annotations

from math import log
from pathlib import Path
from typing import Any, Literal

from torch import Tensor, nn
from torch.nn import functional as F

from accel.data.datasets.token_windows import PADDING, JitteredTokenWindows, TokenWindows
from accel.errors import ConfigError
from accel.tasks.models.gpt import GPT
from accel.tasks.token_file import open_tokens, vocabulary_size
from accel.tasks.validate import validate
from accel.trainer import Trainer
from accel.values import Count, Decay

__all__ = ["HELD_OUT", "Text"]

HELD_OUT = 10
"""Tokens of the file per token that is held out for evaluation, at its end."""


class Text(Trainer):
    """Prediction of the next byte or token of a file with a small GPT; the loss is a mean over tokens.

    Args:
        path: the file; its last tenth is held out. It is memory-mapped: windows are read as they come.
        tokens: what it holds: bytes, or the numbers that a tokeniser wrote, uint16 or uint32; auto: a .npy file says so, and any
            other holds bytes.
        vocabulary: how many tokens there are; auto: 256 for bytes, else one more than the largest in the file.
        context: how many tokens the model looks back on.
        layers: transformer blocks.
        heads: attention heads per block; width must be a multiple.
        width: channels.
        dropout: share of each block's output set to zero in training.
        mup_base_width: width whose best learning rate is that of every width (muP, for adamw); null for a model without muP.
        run: settings of the run, as in `Trainer`.

    Raises:
        ConfigError: If a setting does not fit, or the file is missing or too short.
    """

    def __init__(
        self,
        path: str,
        tokens: Literal["auto", "bytes", "uint16", "uint32"] = "auto",
        vocabulary: Count | Literal["auto"] = "auto",
        context: Count = 128,
        layers: Count = 4,
        heads: Count = 4,
        width: Count = 128,
        dropout: Decay = 0.0,
        mup_base_width: Count | None = None,
        **run: Any,
    ) -> None:
        super().__init__(**run)
        path = str(path) if isinstance(path, Path) else path
        settings = {"context": context, "layers": layers, "heads": heads, "width": width, "dropout": dropout}
        validate(Text, path=path, tokens=tokens, vocabulary=vocabulary, mup_base_width=mup_base_width, **settings)
        if width % heads:
            raise ConfigError(f"task.width must be a multiple of task.heads, and {width} is none of {heads}")
        self.context, self.layers, self.heads, self.width, self.dropout = context, layers, heads, width, dropout
        self.mup_base_width = mup_base_width
        least = max(2 * HELD_OUT, -(-(context + 1) * HELD_OUT // (HELD_OUT - 1)))
        self.text = open_tokens(Path(path).expanduser(), tokens, least, context)
        self.vocabulary = vocabulary_size(self.text, path) if vocabulary == "auto" else vocabulary
        self.below = None if vocabulary == "auto" else vocabulary

    def model(self) -> nn.Module:
        return GPT(self.vocabulary, self.context, self.layers, self.heads, self.width, self.dropout, self.mup_base_width)

    def identity(self) -> dict[str, Any]:
        identity = super().identity()
        if identity.get("mup_base_width") is None:  # not kept else: checkpoints of before there was one go on
            identity.pop("mup_base_width", None)
        return identity

    def data(self, split: str) -> TokenWindows:
        border = len(self.text) - len(self.text) // HELD_OUT
        if split == "train":
            return JitteredTokenWindows(self.text[:border], self.context, self.below)
        return TokenWindows(self.text[border:], self.context, self.below)

    def loss(self, model: nn.Module, batch: Tensor) -> tuple[Tensor, Tensor]:
        tokens = batch.long()
        targets = tokens[:, 1:]
        # padding stands behind every token that counts, and nothing looks ahead: what it is taken for does not matter
        logits = model(tokens[:, :-1].clamp(min=0))
        loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=PADDING)
        return loss, (targets != PADDING).sum()

    def metrics(self, model: nn.Module, batch: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        loss, tokens = self.loss(model, batch)
        return {"loss": loss, f"bits_per_{'byte' if self.text.dtype == 'uint8' else 'token'}": loss / log(2)}, tokens
