"""AirNet: a convolutional network that learns 32x32 pictures in a few epochs."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["PATCH_SIDE", "SHIFT_SCALE", "WHITENING_FILTERS", "AirNet", "Head", "ShiftNorm", "whitening"]

WHITENING_FILTERS, PATCH_SIDE = 24, 2
"""Filters of the whitening convolution, two for each of the 12 directions of a 2x2 patch in colour; and their side in pixels."""
SHIFT_SCALE = 8.0
"""Factor of a learned shift. Its gradient is multiplied as well, so SGD moves the shift 64 times as fast."""


class AirNet(nn.Sequential):
    """Network of a whitening convolution, three stages of two 3x3 convolutions, and a linear layer whose logits are divided by 9.

    Takes (batch, 3, side, side) float pictures. Each stage halves the side, which is at least 9. Convolutions
    begin as the identity where they can (Dirac), and batch normalisation learns a shift and no scale.
    `init_from_pictures` sets the first convolution from pictures, and freezes it; otherwise it is trained like any other.

    Source: Jordan, 94 % on CIFAR-10 in 3.29 seconds on a single GPU, arXiv 2404.00498 (airbench94).

    Args:
        num_classes: Number of outputs.
        width: Channels of the first stage; the other two have four times as many.
    """

    def __init__(self, num_classes: int, width: int = 64) -> None:
        super().__init__()
        self.whiten = nn.Conv2d(3, WHITENING_FILTERS, PATCH_SIDE)
        self.gelu = nn.GELU()
        self.stage1 = _stage(WHITENING_FILTERS, width)
        self.stage2 = _stage(width, 4 * width)
        self.stage3 = _stage(4 * width, 4 * width)
        self.head = Head(4 * width, num_classes)

    def init_from_pictures(self, pictures: Tensor) -> None:
        """Set the first convolution so that its outputs on `pictures` are uncorrelated and of variance 1, and freeze it.

        Args:
            pictures: (n, 3, height, width) float32, normalised as in training.
        """
        weight = whitening(pictures).to(self.whiten.weight)
        with torch.no_grad():
            self.whiten.weight.copy_(weight)
            self.whiten.bias.zero_()  # type: ignore[union-attr]
        self.whiten.weight.requires_grad_(False)


class Head(nn.Module):
    """Maximum of each channel over all places, and a linear layer: (batch, channels, height, width) to (batch, classes)."""

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(channels, num_classes, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.linear(F.adaptive_max_pool2d(x, 1).flatten(1))
        return out / 9


class ShiftNorm(nn.BatchNorm2d):
    """Batch normalisation that learns a shift alone, `SHIFT_SCALE` times its parameter.

    Its running statistics forget fast (momentum 0.4), for short runs.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=1e-5, momentum=0.4)
        del self.weight
        self.register_buffer("weight", torch.ones(channels), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.batch_norm(
            x,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias * SHIFT_SCALE,
            self.training,
            self.momentum or 0.0,
            self.eps,
        )


def _stage(channels: int, out: int) -> nn.Sequential:
    """Return two 3x3 convolutions from `channels` to `out` channels, which halve the side."""
    return nn.Sequential(
        _conv(channels, out), nn.MaxPool2d(2), ShiftNorm(out), nn.GELU(),
        _conv(out, out), ShiftNorm(out), nn.GELU(),
    )  # fmt: skip


def _conv(channels: int, out: int) -> nn.Conv2d:
    """Return a 3x3 convolution whose first filters hand on the channels as they are (Dirac)."""
    conv = nn.Conv2d(channels, out, 3, padding="same", bias=False)
    with torch.no_grad():
        nn.init.dirac_(conv.weight[:channels])
    return conv


def whitening(pictures: Tensor, eps: float = 5e-4) -> Tensor:
    """Return filters that whiten patches: eigenvectors of their covariance over the roots of its eigenvalues, and their negatives.

    Args:
        pictures: (n, 3, height, width) floating point.
        eps: Added to the eigenvalues, so that a direction in which nothing varies does not become noise.

    Returns:
        (24, 3, 2, 2) float64, the direction of the largest variance first.
    """
    patches = F.unfold(pictures, PATCH_SIDE).transpose(1, 2).reshape(-1, 3 * PATCH_SIDE * PATCH_SIDE).double()
    values, vectors = torch.linalg.eigh(patches.T @ patches / len(patches))
    filters = (vectors / (values + eps).sqrt()).T.flip(0).reshape(-1, 3, PATCH_SIDE, PATCH_SIDE)
    return torch.cat([filters, -filters])
