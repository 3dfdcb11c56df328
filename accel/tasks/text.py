"""Task of text: any file, byte by byte or token by token."""

from __future__ import annotations

from math import log
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from accel.data.datasets.token_windows import PADDING, JitteredTokenWindows, TokenWindows
from accel.errors import BadSample, ConfigError, nearest
from accel.tasks.models.gpt import GPT
from accel.tasks.token_file import open_tokens, vocabulary_size
from accel.tasks.validate import validate
from accel.trainer import Trainer
from accel.values import Count, Decay

__all__ = ["CONTINUED", "HELD_OUT", "Text", "continuation"]

HELD_OUT = 10
"""Tokens of the file per token that is held out for evaluation, at its end."""
CONTINUED = 32
"""Tokens that a prediction has."""


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
        self.below = None if vocabulary == "auto" else vocabulary
        if self.saved_metadata is not None:
            self.vocabulary, self.tokens = self.saved_metadata["vocabulary"], self.saved_metadata["tokens"]
            return
        self.text = open_tokens(Path(path).expanduser(), tokens, least, context)
        self.vocabulary = vocabulary_size(self.text, path) if vocabulary == "auto" else vocabulary
        self.tokens = "bytes" if self.text.dtype == "uint8" else tokens

    def model(self) -> nn.Module:
        return GPT(self.vocabulary, self.context, self.layers, self.heads, self.width, self.dropout, self.mup_base_width)

    def identity(self) -> dict[str, Any]:
        identity = super().identity()
        if identity.get("mup_base_width") is None:  # not kept else: checkpoints of before there was one go on
            identity.pop("mup_base_width", None)
        return identity

    def data(self, split: str) -> TokenWindows:
        if split not in ("train", "val"):
            raise ConfigError(f"the text has no split {split}{nearest(split, ['val']) or '; there is val'}")
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

    def logits_of(self, outputs: Any, batch: Tensor) -> tuple[Tensor, Tensor] | None:
        """Return the logits of one call of the model, (batch, context, vocabulary), and which tokens count: those of the text."""
        return (outputs, batch[:, 1:] != PADDING) if isinstance(outputs, Tensor) else None

    def metrics(self, model: nn.Module, batch: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        loss, tokens = self.loss(model, batch)
        return {"loss": loss, f"bits_per_{'byte' if self.text.dtype == 'uint8' else 'token'}": loss / log(2)}, tokens

    def metadata(self) -> dict[str, Any]:
        """Return the number of different tokens, and how a file of them is read."""
        return {"vocabulary": self.vocabulary, "tokens": self.tokens}

    def sample_of(self, path: str) -> tuple[Tensor, int]:
        """Return the last tokens of a file that the model looks back on, (context,) int64 with zeros behind, and their number.

        Raises:
            BadSample: if the file is empty, or has a token that the model does not know.
        """
        file = Path(path)
        if self.tokens == "auto" and file.suffix != ".npy" and file.is_file():
            raise BadSample(f"{path} is no .npy file of tokens, as that of the run is; write one with the run's tokeniser")
        try:
            opened = open_tokens(file, self.tokens, 0, self.context)
        except ConfigError as error:
            raise BadSample(str(error).removeprefix("task.path=")) from None
        tokens = torch.from_numpy(opened[-self.context :].astype("int64"))
        if not len(tokens):
            raise BadSample(f"{path} is empty; there is nothing to go on from")
        if int(tokens.min()) < 0 or int(tokens.max()) >= self.vocabulary:
            raise BadSample(
                f"{path} has a token that is none of the {self.vocabulary:,} of the run; read it with the run's tokeniser"
            )
        return F.pad(tokens, (0, self.context - len(tokens))), len(tokens)

    def predict(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> list[dict[str, Any]]:
        """Return how each text goes on: the likeliest token, and the likeliest behind that, `CONTINUED` times."""
        return [{"continuation": self.shown(tokens)} for tokens in continuation(model, *batch, CONTINUED).tolist()]

    def shown(self, tokens: list[int]) -> str:
        """Return bytes as the text that they are, and other tokens as numbers."""
        if self.tokens == "bytes":
            return bytes(token for token in tokens if token < 256).decode(errors="replace")
        return " ".join(map(str, tokens))


def continuation(model: nn.Module, tokens: Tensor, lengths: Tensor, count: int) -> Tensor:
    """Return the `count` tokens by which each text goes on, (n, count) int64, each the likeliest.

    Args:
        model: returns logits, (n, context, vocabulary), of the token behind each.
        tokens: (n, context) int64.
        lengths: how many of them there are, from 1, (n,) int64; what stands behind does not matter.
        count: how many follow.
    """
    rows, context, following = torch.arange(len(tokens), device=tokens.device), tokens.shape[1], []
    for _ in range(count):
        following.append(model(tokens)[rows, lengths - 1].argmax(1))
        tokens = torch.where((lengths == context)[:, None], tokens.roll(-1, 1), tokens)
        lengths = (lengths + 1).clamp(max=context)
        tokens[rows, lengths - 1] = following[-1]
    return torch.stack(following, 1)
