"""A task whose model is called and answers in unusual ways, all at once, and what cannot be exported at all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, weight_norm
from torch.utils.data import TensorDataset

from accel import Trainer


class Aside(NamedTuple):
    top: Tensor
    parts: list[Any]


@dataclass
class Answer:
    logits: Tensor
    aside: Aside
    nothing: Tensor | None = None
    version: str = "one"


class OddModel(nn.Module):
    """Takes a dict, None, a number and a keyword, and returns a data class of a named tuple of lists.

    Its weights are tied, parametrised and hooked, its forward counts and prints.
    """

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 6, bias=False)
        self.tied = nn.Linear(6, 6, bias=False)
        self.tied.weight = self.first.weight
        self.normed = parametrizations.weight_norm(nn.Linear(6, 6))
        self.spectral = parametrizations.spectral_norm(nn.Linear(6, 6))
        self.turned = parametrizations.orthogonal(nn.Linear(6, 6))
        self.older = weight_norm(nn.Linear(6, 6))
        self.older.register_forward_hook(lambda layer, inputs, output: 2 * output)
        self.words = nn.Embedding(5, 6)
        self.memory = nn.LSTM(6, 6, batch_first=True)
        self.last = nn.Linear(6, 3)
        self.register_buffer("calls", torch.zeros(()))
        self.calls: Tensor

    def forward(self, batch: dict[str, Any], mask: Tensor | None, power: int, *, scale: float = 1.0) -> Answer:
        print("the model prints", batch["points"].shape)
        self.calls += 1
        hidden = self.tied(self.first(batch["points"])) ** power
        for layer in (self.normed, self.spectral, self.turned, self.older):
            hidden = F.dropout(layer(hidden).tanh(), 0.5, self.training)
        states, _ = self.memory(self.words(batch["inner"][0]))
        logits = self.last(hidden + states[:, -1]) * scale
        return Answer(logits, Aside(logits.argmax(1), [logits > 0, {"fixed": torch.arange(3), "given": batch["points"]}, 7]))


class OddTask(Trainer):
    """Classes of points; 10 for training, 7 held out: the last batch is short."""

    def model(self) -> nn.Module:
        return OddModel()

    def data(self, split: str) -> Any:
        count = 10 if split == "train" else 7
        points = torch.randn(count, 6, generator=torch.Generator().manual_seed(count))
        return TensorDataset(points, torch.arange(count * 4).view(count, 4) % 5, points.argmax(1) % 3)

    def loss(self, model: nn.Module, batch: Any) -> Any:
        return F.cross_entropy(self.answer(model, batch).logits, batch[2])

    def metrics(self, model: nn.Module, batch: Any) -> Any:
        answer = self.answer(model, batch)
        assert answer.nothing is None
        assert answer.version == "one"
        return {"accuracy": (answer.aside.top == batch[2]).float().mean(), "loss": F.cross_entropy(answer.logits, batch[2])}

    @staticmethod
    def answer(model: nn.Module, batch: Any) -> Any:
        return model({"points": batch[0], "inner": [batch[1]]}, None, 2, scale=0.5)
