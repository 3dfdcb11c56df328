"""The losses of all updates, and the numbers logged with them, brought to the host in blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import repeat
from typing import Any, Generic, TypeVar
from weakref import WeakMethod

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
        write: method that takes a block: the row noted for each update, the losses and, for each, the counter or None and the
            numbers logged. It does not keep its object alive, which holds this log.
    """

    def __init__(
        self,
        every: int,
        device: torch.device,
        skipped: Tensor | None,
        write: Callable[[list[T], list[float], Iterable[float | None], list[dict[str, float]]], None],
    ) -> None:
        self.every, self.skipped, self.write, self.device = every, skipped, WeakMethod(write), device
        self.readback = AsyncReadback(every * (1 if skipped is None else 2), device)
        self.slots = self.readback.slots
        self.rows: list[T] = []
        self.sent: list[T] = []
        """The rows of the updates whose losses are under way."""
        self.names: list[str] = []
        """The names of all numbers that were logged so far; `named` has `every` slots for each."""
        self.named = AsyncReadback(0, device)
        self.logged: list[tuple[str, ...]] = []
        """The names that each update logged; `sent_logged` those of the updates under way."""
        self.sent_logged: list[tuple[str, ...]] = []

    def add(self, row: T, loss: Tensor, logged: Mapping[str, Any] | None = None) -> None:
        """Note `row` for an update, its loss (0-dim, on the device), and floats or such tensors logged with it, by name."""
        logged = logged or {}
        if not all(name in self.names for name in logged):
            self.make_room(logged)
        index = len(self.rows)
        for name, number in logged.items():
            slot = self.named.slots[self.names.index(name) * self.every + index]
            slot.copy_(number) if isinstance(number, Tensor) else slot.fill_(number)
        self.logged.append(tuple(logged))
        self.slots[index].copy_(loss)
        if self.skipped is not None:
            self.slots[self.every + index].copy_(self.skipped)
        self.rows.append(row)
        if index + 1 == self.every:
            self.receive()  # the losses of the last block, which landed long ago
            self.send()

    def make_room(self, logged: Iterable[str]) -> None:
        """Make slots for names that come for the first time, after handing on what there is."""
        self.flush()
        self.names += [name for name in logged if name not in self.names]
        self.named = AsyncReadback(self.every * len(self.names), self.device)

    def flush(self) -> None:
        """Hand on all losses so far, and wait for losses under way. It may be called only outside of updates."""
        self.receive()
        self.send()
        self.receive()

    def send(self) -> None:
        """Start the copy of the losses of the block."""
        if self.rows:
            self.readback.start()
            if self.names:
                self.named.start()
            self.sent, self.rows = self.rows, []
            self.sent_logged, self.logged = self.logged, []

    def receive(self) -> None:
        """Hand on the block that was under way, if there is one."""
        numbers = self.readback.poll(wait=True)
        if numbers is not None:
            skipped: Iterable[float | None] = repeat(None) if self.skipped is None else numbers[self.every :]
            named = self.named.poll(wait=True) or []
            places = {name: self.every * place for place, name in enumerate(self.names)}
            logged = [{name: named[places[name] + i] for name in names} for i, names in enumerate(self.sent_logged)]
            write = self.write()
            assert write is not None
            write(self.sent, numbers, skipped, logged)
