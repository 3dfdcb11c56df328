"""Objectives that run out of memory when they are told to."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from accel import Trainer
from accel.data.batches.counted import count_samples
from accel.parts import Objective
from accel.values import Whole

Where = Literal["forward", "loss", "backward"]


class Full(torch.autograd.Function):
    """Runs out of memory in the backward pass."""

    @staticmethod
    def forward(ctx: Any, loss: Tensor) -> Tensor:
        return loss.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # type: ignore[override]
        raise full()


def full() -> Exception:
    return torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of ...")


@dataclass(eq=False)
class Hungry(Objective):
    """Runs out of memory above `limit` samples, from its call number `since` on."""

    limit: Whole = 2
    where: Where = "backward"
    since: Whole = 0
    calls = failed = 0

    def identity(self) -> None:
        """Nothing."""

    def __call__(self, model: nn.Module, batch: Any) -> tuple[Tensor, Any]:
        self.calls += 1
        over = count_samples(batch) > self.limit and self.calls > self.since
        self.failed += over
        if over and self.where == "forward":
            model(batch[0])
            raise full()
        loss, items = super().__call__(model, batch)
        if over and self.where == "loss":
            raise full()
        return Full.apply(loss) if over else loss, items  # type: ignore[no-untyped-call]


class Drawing(nn.Module):
    """Moves a buffer in place and assigns one anew, and draws from each of the generators."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))
        self.register_buffer("seen", torch.zeros(3).expand(3))
        self.register_buffer("none", None)

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.seen = self.seen + x.detach().mean(0)
        return x * (random.random() + np.random.rand() + np.random.randn() + torch.rand(()))


class Net(Trainer):
    """Everything that passes move, in one net."""

    splits = ("train",)

    def model(self) -> nn.Module:
        return nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Dropout(0.5), Drawing(), nn.Linear(3, 1))

    def data(self, split: str) -> Any:
        return (
            None
            if split not in self.splits
            else TensorDataset(torch.randn(22, 3, generator=torch.Generator().manual_seed(0)), torch.arange(22.0) % 3)
        )

    def loss(self, model: nn.Module, batch: Any) -> Any:
        x, y = batch
        many = (y > 0).sum()  # as tokens: unlike many in each sample, and none in some
        return (model(x)[:, 0].square() * (y > 0)).sum() / many.clamp(min=1), many
