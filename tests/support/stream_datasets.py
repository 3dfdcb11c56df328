"""Data sets of every kind that a Trainer is given, and a run of milliseconds on them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import IterableDataset

from accel import Trainer

POINTS = torch.arange(20.0).reshape(10, 2)


def loss(model: nn.Module, batch: Any) -> Tensor:
    x = batch[0] if isinstance(batch, list | tuple) else batch
    return model(x).square().mean()


def fit(data: Any, **settings: Any) -> Any:
    torch.manual_seed(0)
    return Trainer(nn.Linear(2, 1), data, loss=loss, watch=(), **settings).fit()


class Stream(IterableDataset):  # type: ignore[type-arg]
    epochs: list[int] = []

    def set_epoch(self, epoch: int) -> None:
        self.epochs.append(epoch)

    def __iter__(self):  # type: ignore[no-untyped-def]
        return iter(POINTS)
