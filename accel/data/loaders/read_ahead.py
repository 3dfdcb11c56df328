"""DataLoaderX: a DataLoader whose batches are read ahead in a thread, on the package prefetch_generator."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import chain
from typing import Any, TypeVar

import torch
from torch.utils.data import DataLoader

from accel.data.loaders.device_copy import DeviceCopier, prefetch_one
from accel.data.loaders.thread_pool import GRACE
from accel.data.randomness.rng_guard import read_ahead_if_rng_free
from accel.data.randomness.tripwire import reading_ahead, watched
from accel.device.cuda.device_threads import DeviceThread, on_device
from accel.errors import ConfigError

__all__ = ["BackgroundReader", "DataLoaderX", "Item", "read_ahead"]

try:
    from prefetch_generator import BackgroundGenerator
except ModuleNotFoundError:
    raise ConfigError("DataLoaderX needs the package prefetch_generator: pip install 'accel-train[prefetch]'") from None

Item = TypeVar("Item")


class BackgroundReader(DeviceThread, BackgroundGenerator):  # type: ignore[misc]
    """Thread and queue of the package prefetch_generator, with an end.

    The package's own thread waits forever if the consumer stops early, and holds one item more than its limit. Anything that is no
    Exception ends it in silence, as if the data were at its end.

    Args:
        items: to read, in a thread, from now on.
        depth: items, at most, that are read and not yet taken.
        turn: held while an item is read; whoever holds it lets none be read.
    """

    def __init__(self, items: Iterator[Any], depth: int, turn: threading.Lock) -> None:
        self.turn = turn
        self.permits, self.stopped = threading.Semaphore(depth), False
        BackgroundGenerator.__init__(self, items, max_prefetch=0)  # the semaphore limits, before an item is read

    def run(self) -> None:
        """Read items in the thread. The last entry of the queue is an exception: StopIteration where all is well."""
        try:
            with on_device(self.device), reading_ahead():
                while self.permits.acquire() and not self.stopped:
                    with self.turn:
                        item = next(self.generator)
                    self.queue.put((True, item))
                    del item  # its batch is memory that the next ones are read into
        except BaseException as error:
            self.queue.put((False, error))

    def __next__(self) -> Any:
        """Return the next item, and permit the thread to read one more."""
        item = self.next()
        self.permits.release()
        return item

    def close(self) -> None:
        """End the thread, after the item that it may be reading; wait for that no longer than `GRACE` seconds."""
        self.stopped = True
        self.permits.release()
        self.join(GRACE)
        self.queue.queue.clear()


def read_ahead(items: Iterator[Item], depth: int, reader: str, turn: threading.Lock | None = None) -> Iterator[Item]:
    """Yield the same items in the same order, read by a thread that is `depth` items ahead. It ends when this iterator does.

    The first item is read here. If reading draws from the global random numbers, so are all (`accel.data.randomness.rng_guard`).

    Args:
        items: to read.
        depth: items that are read ahead.
        reader: its name in that case's warning.
        turn: held by the thread while it reads.
    """

    def in_background(rest: Iterator[Item], head: list[Item]) -> Iterator[Item]:
        background = BackgroundReader(rest, depth, turn or threading.Lock())
        try:
            yield from chain(head, background)
        finally:
            background.close()

    return read_ahead_if_rng_free(items, in_background, reader)


class DataLoaderX(DataLoader[Any]):
    """DataLoader of torch that reads batches ahead in a thread: the same batches, in the same order.

    It helps a loader without workers: while the step runs on the device, or in code that releases the GIL, the next batch is
    read. Leaving the loop early ends the thread.

    >>> from accel.data import DataLoaderX
    >>> for batch in DataLoaderX(range(6), batch_size=2, depth=2):
    ...     print(batch.tolist())
    [0, 1]
    [2, 3]
    [4, 5]

    Args:
        args: positional arguments of `torch.utils.data.DataLoader`.
        depth: batches that are read ahead.
        device: a CUDA device that the batches are copied to, pinned and on a stream of their own, each during the step before
            it; None leaves them on the host.
        kwargs: keyword arguments of `torch.utils.data.DataLoader`.

    Raises:
        ValueError: if `depth` is below 1.
    """

    def __init__(self, *args: Any, depth: int = 2, device: torch.device | str | None = None, **kwargs: Any) -> None:
        if depth < 1:
            raise ValueError(f"depth must be a whole number from 1, not {depth}")
        super().__init__(*args, **kwargs)
        self.depth, self.device = depth, None if device is None else torch.device(device)
        self.copier = DeviceCopier(self.device, beside=True) if self.device is not None and self.device.type == "cuda" else None

    def __iter__(self) -> Any:
        batches = read_ahead(watched(super().__iter__()), self.depth, "DataLoaderX")
        return batches if self.copier is None else prefetch_one(batches, self.copier.start, self.copier.finish)
