"""A run of milliseconds that several ranks make together, and what they remember of it."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from accel.parts import Run, Watch
from accel.trainer import Trainer

RANK = int(os.environ.get("RANK", "0"))


class Stop(Exception):
    """Ends a run in the middle, as a crash would."""


@dataclass(eq=False)
class Keeps(Watch):
    """Remembers the losses, the samples that it is told of, and how it began; may stop the run. No checkpoint keeps it."""

    stop: int = 0
    losses: list[float] = field(default_factory=list, init=False)
    seen: dict[int, list[int]] = field(default_factory=dict, init=False)

    def begin(self, run: Run) -> None:
        self.run = run
        self.first = [param.detach().clone().cpu() for param in run.unwrapped_model.parameters()]
        self.drawn = torch.get_rng_state()

    def after(self, step: int, loss: Tensor) -> None:
        self.losses.append(float(loss))
        if step == self.stop:
            raise Stop


class Points(Trainer):
    """A classifier of points; `samples` of them in training and 7 in evaluation."""

    def __init__(
        self, samples: int = 22, dtype: torch.dtype = torch.float32, dropout: float = 0.0, held: int = 7, bad: int = 0, **run: Any
    ) -> None:
        super().__init__(**run)
        self.samples, self.dtype, self.dropout, self.held, self.bad, self.calls = samples, dtype, dropout, held, bad, 0

    def model(self) -> nn.Module:
        layers = nn.Linear(6, 16), nn.LayerNorm(16), nn.GELU(), nn.Dropout(self.dropout), nn.Linear(16, 3)
        return nn.Sequential(*layers).to(self.dtype)

    def data(self, split: str) -> Any:
        count = self.samples if split == "train" else self.held
        points = torch.randn(count, 6, generator=torch.Generator().manual_seed(len(split)))
        return TensorDataset(points.to(self.dtype), points.argmax(1) % 3)

    def loss(self, model: nn.Module, batch: Any) -> Any:
        loss = nn.functional.cross_entropy(model(batch[0]), batch[1])
        self.calls += model.training
        return loss * torch.inf if self.bad and self.calls == self.bad and model.training and RANK == 1 else loss
