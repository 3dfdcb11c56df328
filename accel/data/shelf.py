"""Batches out of a device's own memory: nothing is read, decoded or copied to it while the model trains."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from accel.data.batches import Batches, Order
from accel.data.moves import Moves, Windows
from accel.data.whole import Form
from accel.order import permutation

AHEAD = 65536
"""For about so many samples random numbers are drawn at a time: an operation on a few costs as much as one on many."""


class Shelf(Batches):
    """The batches of tensors on a device, in the order and with the random numbers of `accel.data.batches.Mapped`.

    Args:
        parts: each (samples, ...); where `moves` is not None the first is pictures (samples, height, width, channels).
        form: makes a batch of its parts.
        moves: how training moves the pictures; None where it takes all as it is.
        device: where all of it shall live, and the batches be made.
        order: of an epoch, where it is shuffled.
    """

    samples: int
    ordered = True

    def __init__(
        self, parts: list[Tensor], form: Form, moves: Moves | None, batch_size: int, seed: int, shuffle: bool,
        device: torch.device, order: Order = permutation,
    ) -> None:  # fmt: skip
        self.order = order
        self.form, self.moves, self.batch_size, self.seed, self.shuffle = form, moves, batch_size, seed, shuffle
        self.device, self.samples = device, len(parts[0])
        self.count = -(-self.samples // batch_size)
        self.windows = None if moves is None else Windows(parts[0], moves, device)
        self.rest = [part.to(device) for part in (parts if moves is None else parts[1:])]
        self.bytes = sum(part.nbytes for part in self.rest) + (0 if self.windows is None else self.windows.bytes)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Any]:
        order = self.order(self.samples, self.seed, epoch) if self.shuffle else torch.arange(self.samples, device="cpu")
        ahead = self.batch_size * max(1, AHEAD // self.batch_size)
        for place in range(start * self.batch_size, self.samples, ahead):
            yield from self._batches(epoch, self._here(order[place : place + ahead]))

    def _batches(self, epoch: int, indices: Tensor) -> Iterator[Any]:
        places = [indices]
        if self.windows is not None and self.moves is not None:
            places += self.moves.draw(self.seed, epoch, indices)
        for keys, *window in zip(*(torch.split(place, self.batch_size) for place in places), strict=True):
            pictures = [] if self.windows is None else [self.windows.take(keys, *window)]
            yield self.form([*pictures, *(part[keys] for part in self.rest)])

    def _here(self, block: Tensor) -> Tensor:
        """On the device, without the host waiting for it."""
        return block.pin_memory().to(self.device, non_blocking=True) if self.device.type == "cuda" else block.to(self.device)
