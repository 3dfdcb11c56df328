"""The networks of the examples, written from their shapes; torch alone, so that the tools' own environments import them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


def mlp(inside: int, hidden: int, classes: int, depth: int = 1, activation: Callable[[], nn.Module] = nn.GELU) -> nn.Module:
    """Linear layers with an activation behind each but the last."""
    widths = [inside, *[hidden] * depth]
    layers = [layer for width in widths[:-1] for layer in (nn.Linear(width if width == inside else hidden, hidden), activation())]
    return nn.Sequential(*layers, nn.Linear(hidden, classes))


class Bottleneck(nn.Module):
    """A residual block of three convolutions (He et al. 2016, arXiv 1512.03385)."""

    def __init__(self, inside: int, width: int, stride: int) -> None:
        super().__init__()
        outside = 4 * width
        self.body = nn.Sequential(
            nn.Conv2d(inside, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True),
            nn.Conv2d(width, outside, 1, bias=False), nn.BatchNorm2d(outside),
        )  # fmt: skip
        same = stride == 1 and inside == outside
        shortcut = nn.Sequential(nn.Conv2d(inside, outside, 1, stride, bias=False), nn.BatchNorm2d(outside))
        self.shortcut = nn.Identity() if same else shortcut

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.body(x) + self.shortcut(x))


def resnet50(classes: int = 1000) -> nn.Module:
    """ResNet-50."""
    stem = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)]
    blocks, inside = [], 64
    for width, count, stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
        for number in range(count):
            blocks.append(Bottleneck(inside, width, stride if number == 0 else 1))
            inside = 4 * width
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inside, classes))


class PointwiseChain(nn.Module):
    """Element-wise operations in a chain, each of which reads and writes all numbers for a handful of flops."""

    def __init__(self, width: int, length: int) -> None:
        super().__init__()
        self.length = length
        self.scale = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(self.length):
            x = (x * self.scale + 1.0).relu()
        return x


class TinyOperations(nn.Module):
    """Thousands of operations on a few numbers each."""

    def __init__(self, width: int, count: int) -> None:
        super().__init__()
        self.count = count
        self.scale = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(self.count // 2):
            x = x * self.scale + 1e-3
        return x
