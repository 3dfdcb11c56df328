"""The losses of all updates, brought to the host in blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import repeat
from typing import Generic, TypeVar

import torch
from torch import Tensor

from accel.device.async_readback import AsyncReadback

__all__ = ["LossLog", "T"]

T = TypeVar("T")


class LossLog(Generic[T]):
    """A log that collects each update's loss on the device, and hands blocks of them on after they have reached the host.

    No update waits: a block is sent when it is full, and handed on when the next one is.

    Args:
        every: the number of updates in a block.
        device: the device of the losses.
        skipped: a counter on the device (0-dim) whose value is recorded with each loss, or None.
        write: takes a block: the row noted for each update, the losses and, for each, the counter or None.
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
        """The rows of the updates whose losses are under way."""

    def add(self, row: T, loss: Tensor) -> None:
        """Note `row` for an update, and its loss (0-dim, on the device)."""
        index = len(self.rows)
        self.slots[index].copy_(loss)
        if self.skipped is not None:
            self.slots[self.every + index].copy_(self.skipped)
        self.rows.append(row)
        if index + 1 == self.every:
            self.receive()  # the losses of the last block, which landed long ago
            self.send()

    def flush(self) -> None:
        """Hand on all losses so far, and wait for losses under way. It may be called only outside of updates."""
        self.receive()
        self.send()
        self.receive()

    def send(self) -> None:
        """Start the copy of the losses of the block."""
        if self.rows:
            self.readback.start()
            self.sent, self.rows = self.rows, []

    def receive(self) -> None:
        """Hand on the block that was under way, if there is one."""
        numbers = self.readback.poll(wait=True)
        if numbers is not None:
            skipped: Iterable[float | None] = repeat(None) if self.skipped is None else numbers[self.every :]
            self.write(self.sent, numbers, skipped)
