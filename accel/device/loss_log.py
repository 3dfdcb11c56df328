"""The losses of all updates, brought to the host in blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import repeat
from typing import Generic, TypeVar

import torch
from torch import Tensor

from accel.device.async_readback import AsyncReadback

T = TypeVar("T")


class LossLog(Generic[T]):
    """Collects each update's loss on the device, and hands them on in blocks when they have reached the host.

    No update waits: a block is sent when it is full, and handed on when the next one is.

    Args:
        every: how many updates make a block.
        device: where the losses are.
        skipped: a counter on the device whose value is wanted with each loss, or None.
        write: is given what was noted of the updates of a block, their losses and, for each, the counter or None.
    """

    def __init__(
        self,
        every: int,
        device: torch.device,
        skipped: Tensor | None,
        write: Callable[[list[T], list[float], Iterable[float | None]], None],
    ) -> None:
        self.every, self.skipped, self.write = every, skipped, write
        self.readback = AsyncReadback(every * (1 if skipped is None else 2), device)
        self.slots = self.readback.slots
        self.rows: list[T] = []
        self.sent: list[T] = []
        """What was noted of the updates whose losses are under way."""

    def add(self, row: T, loss: Tensor) -> None:
        """Notes `row` of an update, and its loss (0-dim on the device)."""
        place = len(self.rows)
        self.slots[place].copy_(loss)
        if self.skipped is not None:
            self.slots[self.every + place].copy_(self.skipped)
        self.rows.append(row)
        if place + 1 == self.every:
            self.receive()  # those of the last block; they landed long ago
            self.send()

    def flush(self) -> None:
        """Hands on everything so far, waiting for what is under way. Outside of the updates only."""
        self.receive()
        self.send()
        self.receive()

    def send(self) -> None:
        """Sends the losses of the block on their way."""
        if self.rows:
            self.readback.start()
            self.sent, self.rows = self.rows, []

    def receive(self) -> None:
        """Hands on the block that was under way."""
        numbers = self.readback.poll(wait=True)
        if numbers is not None:
            skipped: Iterable[float | None] = repeat(None) if self.skipped is None else numbers[self.every :]
            self.write(self.sent, numbers, skipped)
