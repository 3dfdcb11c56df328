"""Normalisation of pictures, on the device."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor

__all__ = ["MEAN", "STD", "normalise"]

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Mean and standard deviation of ImageNet's red, green and blue, from 0 to 1, which published weights expect."""


def normalise(pictures: Tensor, mean: Sequence[float] = MEAN, std: Sequence[float] = STD) -> Tensor:
    """Return pictures as (batch, 3, height, width) float32 of mean 0 and variance 1.

    On the device, so that a quarter of the bytes travel; contiguous, so that the memory format stays the layout's choice.

    Args:
        pictures: (batch, height, width, 3) uint8, or floating point from 0 to 255.
        mean: of each channel, from 0 to 1.
        std: standard deviation of each channel.
    """
    scale, shift = _constants(pictures.device, tuple(mean), tuple(std))
    return torch.addcmul(shift, pictures.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format), scale)


@cache
def _constants(device: torch.device, mean: tuple[float, ...], std: tuple[float, ...]) -> tuple[Tensor, Tensor]:
    """Return scale and shift, (1, 3, 1, 1) float32.

    They are made once per device: making them copies from the host, which must not happen inside the loop.
    """
    means, stds = (torch.tensor(numbers, device=device).view(1, 3, 1, 1) for numbers in (mean, std))
    return 1 / (255 * stds), -means / stds
