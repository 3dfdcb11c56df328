"""Copies from host memory to the device, on the stream of the computation or on one beside it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from accel.data.batches.containers import members, rebuilt
from accel.data.randomness.rng_guard import read_ahead_if_rng_free
from accel.device.cuda.pinned_memory import PinnedMemory

__all__ = ["DeviceCopier", "Item", "PendingCopy", "Sent", "map_tensors", "prefetch_one"]

Item = TypeVar("Item")
Sent = TypeVar("Sent")


def map_tensors(batch: Any, move: Callable[[Any], Any]) -> Any:
    """Return `batch` with `move` applied to every tensor in it, and to every other object that has a method `to`.

    The structure is kept: tuples, named tuples, lists, mappings of any kind and data classes. Any other object stays as it is.
    """
    if isinstance(batch, Tensor):
        return move(batch)
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(map_tensors(part, move) for part in batch))
    if isinstance(batch, list | tuple):
        return type(batch)(map_tensors(part, move) for part in batch)
    if (parts := members(batch)) is not None:
        return rebuilt(batch, {key: map_tensors(part, move) for key, part in parts.items()})
    return move(batch) if hasattr(batch, "to") else batch


class PendingCopy(NamedTuple):
    """Batch that is being copied to the device."""

    batch: Any
    copies: list[Tensor]
    """Its tensors that are being copied, on the device."""
    event: torch.cuda.Event
    """Passes when they are copied."""


class DeviceCopier:
    """Copier of batches to a CUDA device through pinned memory, without the host waiting.

    Memory that is used again as soon as nobody holds it (`accel.data.Ring`) must not change while a copy still reads it. So the
    source of each copy is held until its event has passed.

    Args:
        device: the CUDA device.
        beside: copy on a stream of its own, beside the computation. One stream for a whole run: CUDA never gives them back.
    """

    def __init__(self, device: torch.device, beside: bool) -> None:
        self.device, self.pinned = device, PinnedMemory("batches")
        self.stream = torch.cuda.Stream(device) if beside else None  # type: ignore[no-untyped-call]
        self.pending: deque[tuple[torch.cuda.Event, list[Tensor]]] = deque()
        self.spare_events: list[torch.cuda.Event] = []

    def start(self, batch: Any) -> PendingCopy:
        """Start copying the dense tensors of the host. All others move in `finish`, on the stream that uses them."""
        while self.pending and self.pending[0][0].query():  # type: ignore[no-untyped-call]
            self.spare_events.append(
                self.pending.popleft()[0]
            )  # recorded anew it stands for a later copy, and so for all before it
        sources: list[Tensor] = []
        copies: list[Tensor] = []

        def copy(value: Any) -> Any:
            if not isinstance(value, Tensor) or value.device.type != "cpu" or value.layout != torch.strided:
                return value
            sources.append(self.pinned.copy(value))
            copies.append(sources[-1].to(self.device, non_blocking=True))
            return copies[-1]

        event = self.spare_events.pop() if self.spare_events else torch.cuda.Event()  # type: ignore[no-untyped-call]
        with torch.cuda.stream(self.stream):  # None is the current one
            try:
                copied = map_tensors(batch, copy)
            finally:  # an error of one tensor does not end the copies of those before it
                event.record(torch.cuda.current_stream(self.device))
                self.pending.append((event, sources))
        return PendingCopy(copied, copies, event)

    def finish(self, sent: PendingCopy) -> Any:
        """Return the batch, for all work that is queued on the current stream from now on."""
        if self.stream is not None:
            current = torch.cuda.current_stream(self.device)
            current.wait_event(sent.event)  # the device waits, the host does not
            for tensor in sent.copies:
                tensor.record_stream(current)  # its memory goes back to the copying stream, and only after this one is done with it
        return map_tensors(sent.batch, lambda value: value.to(self.device))

    def close(self) -> None:
        """Wait for the pending copies, and release their sources."""
        while self.pending:
            self.pending.popleft()[0].synchronize()


def prefetch_one(items: Iterator[Item], start: Callable[[Item], Sent], finish: Callable[[Sent], Item]) -> Iterator[Item]:
    """Yield each item, finished; the copy of the next one has started by then, unless reading it draws global random numbers.

    Args:
        items: to copy.
        start: starts the copy of one.
        finish: finishes it.
    """

    def one_behind(rest: Iterator[Sent], head: list[Sent]) -> Iterator[Sent]:
        waiting = deque(head)
        for later in rest:
            waiting.append(later)
            yield waiting.popleft()
        yield from waiting

    return map(finish, read_ahead_if_rng_free(map(start, items), one_behind))
