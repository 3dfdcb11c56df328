"""Handwritten digits, a small net, a loss and a metric, which all examples share."""

from __future__ import annotations

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import TensorDataset

pictures, labels = (torch.from_numpy(array) for array in load_digits(return_X_y=True))
pictures = (pictures.float() / 16).reshape(-1, 1, 8, 8)
order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))

train_set = TensorDataset(pictures[order[360:]], labels[order[360:]])
test_set = TensorDataset(pictures[order[:360]], labels[order[:360]])


def net(width: int = 32) -> nn.Module:
    """Return a convnet from pictures, (batch, 1, 8, 8), to scores, (batch, 10)."""
    return nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, 2 * width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(2 * width * 16, 10),
    )  # fmt: skip


def loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    """Return the mean cross-entropy of a batch, a 0-dim tensor."""
    pictures, labels = batch
    return nn.functional.cross_entropy(model(pictures), labels)


def accuracy(model: nn.Module, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
    """Return the metrics to report in evaluation, by name."""
    pictures, labels = batch
    return {"accuracy": (model(pictures).argmax(1) == labels).float().mean()}
