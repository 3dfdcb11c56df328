"""The toy of `accel.testing` with pictures, convolutions and norms: for what changes them."""

from __future__ import annotations

import torch
from torch import nn
from torch.utils.data import TensorDataset

from accel.testing.toy_run import CLASSES, SAMPLES, Toy

__all__ = ["PictureToy"]


class PictureToy(Toy):
    """A classifier of random pictures, (N, 3, 6, 6) float32, with dropout."""

    def model(self) -> nn.Module:
        """Return two convolutions and a Linear, a BatchNorm after each, and a head."""
        first = [nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU()]
        second = [nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten()]
        last = [nn.Linear(16, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(self.dropout), nn.Linear(8, CLASSES)]
        return nn.Sequential(*first, *second, *last)

    def data(self, split: str) -> TensorDataset:
        """Return the random pictures of a split, (22, 3, 6, 6) float32, and their classes, (22,) int64."""
        pictures = torch.randn(SAMPLES, 3, 6, 6, generator=torch.Generator().manual_seed(len(split)))
        return TensorDataset(pictures, (pictures.mean((1, 2, 3)) > 0).long())
