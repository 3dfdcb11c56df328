"""A convolutional network for pictures of a few pixels."""

from __future__ import annotations

from torch import nn

__all__ = ["convnet"]


def convnet(num_classes: int, width: int = 16) -> nn.Sequential:
    """Three 3x3 convolutions and a linear layer over (batch, 1, 8, 8) float pictures.

    It normalises within a sample (GroupNorm), never across the batch: one update over k micro-batches is then the update
    over the big batch, so accumulation is exact, and a last batch of one sample is no special case.
    """
    return nn.Sequential(
        *_block(1, width), *_block(width, 2 * width), nn.MaxPool2d(2),
        *_block(2 * width, 2 * width), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(8 * width, num_classes),
    )  # fmt: skip


def _block(inside: int, out: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(inside, out, 3, padding=1), nn.GroupNorm(4, out), nn.ReLU()
