"""Small convnets: one with all that plugins of the model's shape look for, and one with a residual block."""

from __future__ import annotations

from torch import nn

from accel.tasks.models.resnet import BasicBlock, ResNet

__all__ = ["OneBlock", "SmallConvnet"]


class SmallConvnet(nn.Sequential):
    """Two convolutions with BatchNorm and a head, for pictures of three channels; `task.model` can name it."""

    def __init__(self, num_classes: int) -> None:
        super().__init__(
            nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
            nn.Conv2d(16, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, num_classes),
        )  # fmt: skip


class OneBlock(ResNet):
    """Three convolutions, two of them in a residual block: a third of the operators of `task.model=small`."""

    def __init__(self, num_classes: int) -> None:
        super().__init__(BasicBlock, (1,), num_classes, side=16, width=16)
