"""From host memory to the device, on the stream of the computation or on one beside it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from accel.data.batches.rng_guard import read_ahead_if_rng_free

__all__ = ["DeviceCopier", "Item", "PendingCopy", "Sent", "map_tensors", "prefetch_one"]

Item = TypeVar("Item")
Sent = TypeVar("Sent")


def map_tensors(batch: Any, move: Callable[[Any], Any]) -> Any:
    """`batch` with `move` applied to every tensor in it, and to every other object that has a method `to`.

    The structure is kept: tuples, named tuples, lists and dicts. Anything else stays as it is.
    """
    if isinstance(batch, Tensor):
        return move(batch)
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(map_tensors(part, move) for part in batch))
    if isinstance(batch, list | tuple):
        return type(batch)(map_tensors(part, move) for part in batch)
    if isinstance(batch, dict):
        return {key: map_tensors(part, move) for key, part in batch.items()}
    return move(batch) if hasattr(batch, "to") else batch


class PendingCopy(NamedTuple):
    """A batch on its way to the device."""

    batch: Any
    copies: list[Tensor]
    """Those of its tensors that are being copied."""
    event: torch.cuda.Event
    """Passes when they are."""


class DeviceCopier:
    """Copies batches to a CUDA device through pinned memory, without the host waiting.

    Whoever reuses memory as soon as nobody holds it (`accel.data.Ring`) must not do so while a copy still reads it: the source of
    each copy is held until its event has passed.

    Args:
        device: the CUDA device.
        beside: copy on a stream of its own, beside the computation. One stream for a whole run: CUDA never gives them back.
    """

    def __init__(self, device: torch.device, beside: bool) -> None:
        self.device = device
        self.stream = torch.cuda.Stream(device) if beside else None  # type: ignore[no-untyped-call]
        self.under_way: deque[tuple[torch.cuda.Event, list[Tensor]]] = deque()
        self.spare: list[torch.cuda.Event] = []

    def start(self, batch: Any) -> PendingCopy:
        """Begins to copy the dense tensors of the host; whatever else there is moves in `arrive`, on the stream that uses it."""
        while self.under_way and self.under_way[0][0].query():  # type: ignore[no-untyped-call]
            self.spare.append(self.under_way.popleft()[0])  # recorded anew it stands for a later copy, and so for all before it
        sources: list[Tensor] = []
        copies: list[Tensor] = []

        def copy(value: Any) -> Any:
            if not isinstance(value, Tensor) or value.device.type != "cpu" or value.layout != torch.strided:
                return value
            sources.append(value.pin_memory())  # itself where it is pinned already
            copies.append(sources[-1].to(self.device, non_blocking=True))
            return copies[-1]

        with torch.cuda.stream(self.stream):  # None is the current one
            there = map_tensors(batch, copy)
            event = self.spare.pop() if self.spare else torch.cuda.Event()  # type: ignore[no-untyped-call]
            event.record(torch.cuda.current_stream(self.device))
        self.under_way.append((event, sources))
        return PendingCopy(there, copies, event)

    def finish(self, sent: PendingCopy) -> Any:
        """The batch, for whatever is queued on the current stream from now on."""
        if self.stream is not None:
            now = torch.cuda.current_stream(self.device)
            now.wait_event(sent.event)  # the device waits, the host does not
            for tensor in sent.copies:
                tensor.record_stream(now)  # its memory goes back to the copying stream, and only after this one is done with it
        return map_tensors(sent.batch, lambda value: value.to(self.device))

    def close(self) -> None:
        """Waits for what is under way, and lets go of it."""
        while self.under_way:
            self.under_way.popleft()[0].synchronize()


def prefetch_one(items: Iterator[Item], depart: Callable[[Item], Sent], arrive: Callable[[Sent], Item]) -> Iterator[Item]:
    """Each item, arrived; by then the one after it has departed, unless reading it draws global random numbers (`quiet`)."""
    sent = map(depart, items)

    def held_back(head: list[Sent], _: int) -> Iterator[Sent]:
        waiting = deque(head)
        for later in sent:
            waiting.append(later)
            yield waiting.popleft()
        yield from waiting

    return map(arrive, read_ahead_if_rng_free(sent, held_back))
