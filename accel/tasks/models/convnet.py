"""Convolutional network for pictures of a few pixels."""

from __future__ import annotations

from torch import nn

__all__ = ["convnet"]


def convnet(num_classes: int, width: int = 16) -> nn.Sequential:
    """Return three 3x3 convolutions and a linear layer: (batch, 1, 8, 8) float pictures to (batch, num_classes) logits.

    It normalises within a sample (GroupNorm), never across the batch: one update over k micro-batches is then the update
    over the big batch, so accumulation is exact, and a last batch of one sample is no special case.

    Args:
        num_classes: Number of outputs.
        width: Channels of the first convolution, a multiple of 4.
    """
    return nn.Sequential(
        *_block(1, width), *_block(width, 2 * width), nn.MaxPool2d(2),
        *_block(2 * width, 2 * width), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(8 * width, num_classes),
    )  # fmt: skip


def _block(channels: int, out: int) -> tuple[nn.Module, ...]:
    """Return a 3x3 convolution from `channels` to `out` channels, its normalisation and ReLU."""
    return nn.Conv2d(channels, out, 3, padding=1), nn.GroupNorm(4, out), nn.ReLU()
