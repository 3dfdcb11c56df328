"""A convolutional network that learns 32x32 pictures in a few epochs."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["REACH", "SWIFT", "WHITE", "AirNet", "Head", "Shift", "whitening"]

WHITE, REACH = 24, 2
"""Filters of the whitening convolution, and their side in pixels: two for each of the 12 directions of a 2x2 patch in colour."""
SWIFT = 8.0
"""What a learned shift is multiplied by. Its gradient is multiplied as well, so SGD moves the shift 64 times as fast."""


class AirNet(nn.Sequential):
    """A whitening convolution, three stages of two 3x3 convolutions, and a linear layer whose logits are divided by 9.

    Takes (batch, 3, side, side) float pictures. Each stage halves the side, which is at least 9. Convolutions
    begin as the identity where they can (Dirac), and batch normalisation learns a shift and no scale.
    `show` sets the first convolution from pictures, and freezes it; without that it is an ordinary one, and is trained.

    Source: Jordan, 94 % on CIFAR-10 in 3.29 seconds on a single GPU, arXiv 2404.00498 (airbench94).

    Args:
        num_classes: outputs.
        width: channels of the first stage; the other two have four times as many.
    """

    def __init__(self, num_classes: int, width: int = 64) -> None:
        super().__init__()
        self.whiten = nn.Conv2d(3, WHITE, REACH)
        self.gelu = nn.GELU()
        self.stage1 = _stage(WHITE, width)
        self.stage2 = _stage(width, 4 * width)
        self.stage3 = _stage(4 * width, 4 * width)
        self.head = Head(4 * width, num_classes)

    def show(self, pictures: Tensor) -> None:
        """Sets the first convolution so that its outputs on `pictures` are uncorrelated and of variance 1, and freezes it.

        Args:
            pictures: (n, 3, height, width) float32, normalised as in training.
        """
        weight = whitening(pictures).to(self.whiten.weight)
        with torch.no_grad():
            self.whiten.weight.copy_(weight)
            self.whiten.bias.zero_()  # type: ignore[union-attr]
        self.whiten.weight.requires_grad_(False)


class Head(nn.Module):
    """The largest number of each channel over all places, and a linear layer."""

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(channels, num_classes, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.linear(F.adaptive_max_pool2d(x, 1).flatten(1))
        return out / 9


class Shift(nn.BatchNorm2d):
    """Batch normalisation that learns a shift alone, `SWIFT` times its parameter; it forgets fast, for short runs."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=1e-5, momentum=0.4)
        del self.weight
        self.register_buffer("weight", torch.ones(channels), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias * SWIFT, self.training, self.momentum or 0.0, self.eps
        )


def _stage(channels: int, out: int) -> nn.Sequential:
    return nn.Sequential(
        _conv(channels, out), nn.MaxPool2d(2), Shift(out), nn.GELU(),
        _conv(out, out), Shift(out), nn.GELU(),
    )  # fmt: skip


def _conv(channels: int, out: int) -> nn.Conv2d:
    """A 3x3 convolution whose first filters hand on the channels as they are."""
    conv = nn.Conv2d(channels, out, 3, padding="same", bias=False)
    with torch.no_grad():
        nn.init.dirac_(conv.weight[:channels])
    return conv


def whitening(pictures: Tensor, eps: float = 5e-4) -> Tensor:
    """The filters that whiten patches: the eigenvectors of their covariance over the roots of its eigenvalues, and their negatives.

    Args:
        pictures: (n, 3, height, width) float.
        eps: added to the eigenvalues, so that a direction in which nothing varies does not become noise.

    Returns:
        (24, 3, 2, 2) float64; the direction of the largest variance first.
    """
    patches = F.unfold(pictures, REACH).transpose(1, 2).reshape(-1, 3 * REACH * REACH).double()
    values, vectors = torch.linalg.eigh(patches.T @ patches / len(patches))
    filters = (vectors / (values + eps).sqrt()).T.flip(0).reshape(-1, 3, REACH, REACH)
    return torch.cat([filters, -filters])
