"""A net whose passes take as many bytes as its batch, several times, and whose one weight shows every bit of them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from accel import Trainer
from accel.parts import Part
from accel.plugins.accumulate import Accumulate

SAMPLES, WIDTH = 64, 250_000
BYTES = 4 * SAMPLES * WIDTH
"""Of a batch."""


class Wide(nn.Module):
    """y = tanh(x w)^2, number by number."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        return (x * self.weight).tanh().square()


def batches(count: int, size: int = SAMPLES) -> list[Tensor]:
    """So many batches, or what they are in pieces of `size`."""
    data = torch.randn(count, SAMPLES, WIDTH, generator=torch.Generator().manual_seed(0)).unbind()
    return [part for batch in data for part in batch.split(size)]


def trained(data: list[Tensor], *plugins: Part, device: str = "cpu", seen: list[int] | None = None) -> Tensor:
    """The weight after one epoch. In `seen` is the size of each batch whose forward pass went well."""

    def loss(model: nn.Module, x: Tensor) -> Any:
        actual = model(x).sum(1).mean()
        if seen is not None:
            seen.append(len(x))
        return actual

    model: Any = Trainer(Wide(), DataLoader(data, batch_size=None), loss=loss, plugins=plugins, watch=(), device=device).fit().model
    weight: Tensor = model.weight
    return weight


def in_pieces(count: int, size: int, device: str = "cpu") -> Tensor:
    """The weight after so many batches in micro-batches of `size` from the beginning."""
    return trained(batches(count, size), Accumulate(steps=SAMPLES // size), device=device)
