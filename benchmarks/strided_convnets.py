"""Plain stacks of 3x3 convolutions with BatchNorm and ReLU, whose strides halve the side: the shape of VGG and RepVGG."""

from __future__ import annotations

from torch import nn

WIDTHS = (32, 32, 64, 64, 128)
"""Channels of the student's convolutions; half of each is a multiple of 8."""
STRIDES = (2, 1, 2, 1, 2)
TIMES = 2
"""How many times as wide the teacher is."""


class Student(nn.Sequential):
    """Five convolutions, the mean over all places, and a linear layer: (batch, 3, side, side) to (batch, classes)."""

    def __init__(self, num_classes: int, times: int = 1) -> None:
        layers: list[nn.Module] = []
        channels = 3
        for width, stride in zip(WIDTHS, STRIDES, strict=True):
            out = times * width
            layers += [nn.Conv2d(channels, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU(inplace=True)]
            channels = out
        super().__init__(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, num_classes))


class Teacher(Student):
    """The same, `TIMES` as wide."""

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes, TIMES)
