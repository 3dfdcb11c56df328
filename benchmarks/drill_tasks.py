"""Small tasks that the drills train, which `accel.testing.toy_run` has not the parts for: layers, BatchNorm, several optimisers."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from accel import Minimize, Trainer
from accel.plugins import AdamW, Clip

SAMPLES, FEATURES, CLASSES, WIDTH = 22, 6, 3, 12


class Block(nn.Module):
    """A residual block with dropout."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Dropout(0.1), nn.Linear(width, width))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class Blocks(Trainer):
    """A classifier of random points, whose loss logs a number."""

    num_classes = CLASSES

    width = WIDTH

    def model(self) -> nn.Module:
        """A stem with BatchNorm, three blocks and a head."""
        stem = nn.Sequential(nn.Linear(FEATURES, self.width), nn.BatchNorm1d(self.width), nn.ReLU())
        blocks = nn.Sequential(*(Block(self.width) for _ in range(3)))
        return nn.Sequential(OrderedDict(stem=stem, blocks=blocks, head=nn.Linear(self.width, CLASSES)))

    def data(self, split: str) -> TensorDataset:
        """The points of a split, (22, 6) float32, and their classes, (22,) int64."""
        generator = torch.Generator().manual_seed(len(split))
        points = torch.randn(SAMPLES, FEATURES, generator=generator)
        return TensorDataset(points, (points.sum(1) > 0).long() + (points[:, 0] > 1).long())

    def loss(self, model: nn.Module, batch: Any) -> Any:
        """The cross entropy, and the mean confidence to log."""
        scores = model(batch[0])
        return F.cross_entropy(scores, batch[1]), {"confidence": scores.softmax(1).amax(1).mean()}


class Convolutions(Blocks):
    """A classifier of random pictures: convolutions and a Linear, each with a BatchNorm."""

    def model(self) -> nn.Module:
        """Two convolutions, a Linear and a head."""
        first = [nn.Conv2d(2, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU()]
        second = [nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        return nn.Sequential(*first, *second, nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.1), nn.Linear(8, CLASSES))

    def data(self, split: str) -> TensorDataset:
        """The pictures of a split, (22, 2, 5, 5) float32, and their classes, (22,) int64."""
        pictures = torch.randn(SAMPLES, 2, 5, 5, generator=torch.Generator().manual_seed(len(split)))
        means = pictures.mean((2, 3))
        return TensorDataset(pictures, (means.sum(1) > 0).long() + (means[:, 0] > 0.2).long())


class WideBlocks(Blocks):
    """A teacher of the same."""

    width = 20


class TwoSets(Blocks):
    """The same, evaluated on two sets."""

    evaluates = ("val", "test")


class Gan(Trainer):
    """A GAN on points: its generator has BatchNorm and moves in every second update, its critic has dropout, both draw noise."""

    def model(self) -> nn.Module:
        """A generator of points and their critic."""
        generator = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
        return nn.ModuleDict({"generator": generator, "critic": nn.Sequential(nn.Linear(2, 8), nn.Dropout(0.2), nn.Linear(8, 1))})

    def data(self, split: str) -> TensorDataset:
        """The points to imitate, (22, 2) float32."""
        return TensorDataset(torch.randn(SAMPLES, 2, generator=torch.Generator().manual_seed(len(split))))

    def critic_loss(self, model: Any, batch: Any) -> Tensor:
        fake = model["generator"](torch.randn(len(batch[0]), 4))
        return F.softplus(-model["critic"](batch[0])).mean() + F.softplus(model["critic"](fake)).mean()

    def generator_loss(self, model: Any, batch: Any) -> Any:
        fake = model["generator"](torch.randn(len(batch[0]), 4))
        return F.softplus(-model["critic"](fake)).mean(), {"spread": fake.std()}

    def metrics(self, model: Any, batch: Any) -> Any:
        return {"score": model["critic"](batch[0]).mean()}

    def objectives(self, model: Any) -> Any:
        return [
            Minimize("critic", model["critic"].parameters(), self.critic_loss, plugins=[AdamW(lr=4e-3), Clip(max_norm=0.5)]),
            Minimize("generator", "generator.*", self.generator_loss, every=2),
        ]
