"""A user's own file, as the runs of these fixtures were given it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from accel import Trainer

SAMPLES = {"train": 22, "val": 6}


class Points(Trainer):
    """Tells three kinds of points apart."""

    def __init__(self, hidden: int = 8, dropout: float = 0.2, **run: Any) -> None:
        super().__init__(**run)
        self.hidden, self.dropout = hidden, dropout

    def model(self) -> nn.Module:
        hidden = self.hidden
        return nn.Sequential(
            nn.Linear(6, hidden), nn.LayerNorm(hidden), nn.Dropout(self.dropout), nn.Linear(hidden, hidden), nn.GELU(),
            nn.Linear(hidden, 3),
        )  # fmt: skip

    def data(self, split: str) -> Any:
        dice = torch.Generator().manual_seed(len(split))
        points = torch.randn(SAMPLES[split], 6, generator=dice)
        return TensorDataset(points, points[:, :3].argmax(1))

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        points, kinds = batch
        return nn.functional.cross_entropy(model(points), kinds)


class Loaded(Points):
    """The same, with a loader that draws the order from a generator of its own."""

    def data(self, split: str) -> Any:
        dice = torch.Generator().manual_seed(1)
        return DataLoader(super().data(split), batch_size=4, shuffle=split == "train", generator=dice)


class Net(nn.Module):
    """For pictures."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 4, 3, stride=4), nn.BatchNorm2d(4)
        self.last = nn.Linear(4, num_classes)

    def forward(self, pictures: Tensor) -> Tensor:
        logits: Tensor = self.last(self.norm(self.first(pictures)).relu().mean((2, 3)))
        return logits
