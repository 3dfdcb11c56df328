"""A task of points in a plane whose evaluation depends on all that a run can remember, for commands that name it by `_target_`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from accel import Trainer
from accel.errors import BadSample

TARGET = "tests.support.points_task.Points"
TASK = (f"task._target_={TARGET}", "task.width=4", "batch_size=16", "device=cpu", "~plugins.progress", "~plugins.metrics")
"""Words that choose the task, for a run of four updates an epoch."""


class Net(nn.Module):
    """A net with a buffer that no state_dict has, and BatchNorm."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, 2))
        self.register_buffer("centre", torch.zeros(2), persistent=False)

    def forward(self, points: Tensor) -> Tensor:
        if self.training:
            self.centre.lerp_(points.mean(0), 0.1)
        out: Tensor = self.layers(points - self.centre)
        return out


class Points(Trainer):
    """Points left and right of a line. The metrics use what the loss has counted, and random numbers."""

    def __init__(self, width: int = 4, shift: float = 0.0, **run: Any) -> None:
        super().__init__(**run)
        self.width, self.shift = width, shift
        self.mean_loss = torch.zeros(())

    def model(self) -> nn.Module:
        return Net(self.width)

    def data(self, split: str) -> Any:
        seeds = {"train": 1, "val": 2, "test": 3}
        x = torch.randn(64, 2, generator=torch.Generator().manual_seed(seeds[split])) + self.shift
        self.classes = ["left", "right"]
        return TensorDataset(x, (x.sum(1) > 0).long())

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        noise = 0.01 * torch.randn(2) if model.training else 0.0
        loss = F.cross_entropy(model(batch[0] + noise).float(), batch[1])
        if model.training:
            self.mean_loss = self.mean_loss.lerp(loss.detach(), 0.1)
        return loss

    def metrics(self, model: nn.Module, batch: Any) -> dict[str, Any]:
        points = batch[0] + 0.1 * torch.randn(2)
        loss = F.cross_entropy(model(points).float(), batch[1])
        return {"loss": loss, "excess": loss - self.mean_loss, "accuracy": (model(batch[0]).argmax(1) == batch[1]).float().mean()}

    def sample_of(self, path: str) -> Tensor:
        numbers = [float(word) for word in Path(path).read_text().split()]
        if len(numbers) != 2:
            raise BadSample(f"{path} has {len(numbers)} numbers, and a point has 2")
        return torch.tensor(numbers)
