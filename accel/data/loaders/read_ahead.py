"""DataLoaderX: a DataLoader whose batches are read ahead in a thread, on the package prefetch_generator."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import chain
from typing import Any, TypeVar

import torch
from torch.utils.data import DataLoader

from accel.data.batches.rng_guard import read_ahead_if_rng_free
from accel.data.loaders.device_copy import DeviceCopier, prefetch_one
from accel.data.loaders.thread_pool import GRACE
from accel.errors import ConfigError

__all__ = ["Background", "DataLoaderX", "Item", "ahead"]

try:
    from prefetch_generator import BackgroundGenerator
except ModuleNotFoundError:
    raise ConfigError("DataLoaderX needs the package prefetch_generator: pip install 'accel-train[prefetch]'") from None

Item = TypeVar("Item")


class Background(BackgroundGenerator):  # type: ignore[misc]
    """The package's thread and queue, which ends when it is told to.

    What the package does not do: its thread waits forever where the consumer stops early; it holds one item more than it was
    told; anything that is no Exception ends it in silence, as if the data were at its end.

    Args:
        items: what to read, in a thread, from now on.
        depth: at most so many items are read and not yet taken.
    """

    def __init__(self, items: Iterator[Any], depth: int) -> None:
        self.room, self.stopped = threading.Semaphore(depth), False
        super().__init__(items, max_prefetch=0)  # the semaphore limits, before an item is read

    def run(self) -> None:
        """What the thread does; the last thing it hands over is an exception, StopIteration where all is well."""
        try:
            while self.room.acquire() and not self.stopped:
                self.queue.put((True, next(self.generator)))
        except BaseException as error:
            self.queue.put((False, error))

    def __next__(self) -> Any:
        item = self.next()
        self.room.release()
        return item

    def close(self) -> None:
        """Ends the thread, after the item that it may be reading; waits for that no longer than `GRACE`."""
        self.stopped = True
        self.room.release()
        self.join(GRACE)
        self.queue.queue.clear()


def ahead(items: Iterator[Item], depth: int, who: str) -> Iterator[Item]:
    """The same items in the same order, read by a thread that is `depth` of them ahead, and ends when this iterator does.

    The first item is read here, and so are all where reading draws from the global random numbers (`accel.data.batches.rng_guard`);
    `who` is named in the warning then.
    """

    def in_background(head: list[Item], _: int) -> Iterator[Item]:
        background = Background(items, depth)
        try:
            yield from chain(head, background)
        finally:
            background.close()

    return read_ahead_if_rng_free(items, in_background, who)


class DataLoaderX(DataLoader[Any]):
    """A torch DataLoader that reads batches ahead in a thread: the same batches, in the same order.

    It helps a loader without workers: while the step runs on the device, or in code that releases the GIL, the next batch is
    read. Leaving the loop early ends the thread.

    >>> from accel.data import DataLoaderX
    >>> for batch in DataLoaderX(range(6), batch_size=2, depth=2):
    ...     print(batch.tolist())
    [0, 1]
    [2, 3]
    [4, 5]

    Args:
        depth: how many batches are read ahead.
        device: a CUDA device that the batches are copied to, pinned and on a stream of their own, each during the step before
            it; None leaves them on the host.
        *args: those of `torch.utils.data.DataLoader`.
        **kwargs: those of `torch.utils.data.DataLoader`.
    """

    def __init__(self, *args: Any, depth: int = 2, device: torch.device | str | None = None, **kwargs: Any) -> None:
        if depth < 1:
            raise ValueError(f"depth must be a whole number from 1, not {depth}")
        super().__init__(*args, **kwargs)
        self.depth, self.device = depth, None if device is None else torch.device(device)
        self.copies = DeviceCopier(self.device, beside=True) if self.device is not None and self.device.type == "cuda" else None

    def __iter__(self) -> Any:
        batches = ahead(super().__iter__(), self.depth, "DataLoaderX")
        return batches if self.copies is None else prefetch_one(batches, self.copies.start, self.copies.finish)
