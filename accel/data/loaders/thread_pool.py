"""A fixed number of threads, and batches that they read a part each of."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from functools import partial
from queue import SimpleQueue
from time import monotonic, perf_counter
from typing import Any, Protocol

__all__ = ["GRACE", "BatchRead", "BatchWork", "ThreadPool", "chunk_ranges"]

GRACE = 1.0
"""Seconds that a thread is given for the sample that it is reading; one that hangs over it is left behind, and ends after it."""


class ThreadPool:
    """Threads that wait for work, until they are closed.

    Args:
        count: how many.
    """

    def __init__(self, count: int) -> None:
        self.closed = False
        self.work: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self.threads = [threading.Thread(target=self._serve, name="accel-reader", daemon=True) for _ in range(count)]
        for thread in self.threads:
            thread.start()

    def _serve(self) -> None:
        while (work := self.work.get()) is not None:
            work()
            del work  # it holds a batch

    def close(self) -> None:
        """Ends them, each after the sample that it is reading; waits for that no longer than `GRACE`."""
        self.closed = True
        for _ in self.threads:
            self.work.put(None)
        until = monotonic() + GRACE
        for thread in self.threads:
            thread.join(max(0.0, until - monotonic()))


class BatchWork(Protocol):
    """What is to be done for one batch."""

    keys: list[int]
    """The numbers of its samples."""

    def fill_slot(self, place: int) -> None:
        """Reads sample `place` of the batch, from 0. Called by several threads at once."""

    def finish(self) -> Any:
        """The batch, once all samples are read. Called by the thread that read the last of them."""


class BatchRead:
    """One batch that is being read, in parts of several samples.

    Args:
        threads: who reads.
        work: what to read.
        place: where the batch stands, in words.
        parts: in how many parts, at most.
    """

    def __init__(self, threads: ThreadPool, work: BatchWork, place: str, parts: int) -> None:
        self.threads, self.keys, self.place = threads, work.keys, place
        size = len(work.keys)
        self.failed, self.error = size, None  # type: int, BaseException | None
        self.batch: Any = None
        self.busy = 0.0
        """Seconds of all threads together that reading it took, once it is done."""
        self.lock, self.done, self.wanted = threading.Lock(), threading.Event(), True
        spread = list(chunk_ranges(size, parts))
        self.left = len(spread)
        for part in spread:
            threads.work.put(partial(self._part, part, work))

    def _part(self, places: range, work: BatchWork) -> None:
        since = perf_counter()
        for place in places:
            # the first sample that fails is the one to be named, whoever comes to it first
            if not self._wanted() or place > self.failed:
                break
            try:
                work.fill_slot(place)
            except BaseException as error:
                self._fail(place, error)
        with self.lock:
            self.left -= 1
            self.busy += perf_counter() - since
            last = self.left == 0
        if last:
            since = perf_counter()
            try:
                if self.error is None and self._wanted():
                    self.batch = work.finish()
            except BaseException as error:
                self._fail(-1, error)
            self.busy += perf_counter() - since
            self.done.set()

    def _wanted(self) -> bool:
        return self.wanted and not self.threads.closed

    def _fail(self, place: int, error: BaseException) -> None:
        with self.lock:
            if place < self.failed:
                self.failed, self.error = place, error

    def take(self) -> Any:
        """The batch, once it is there. Raises what reading its first bad sample raised, with its number in a note."""
        self.done.wait()
        if self.error is not None:
            sample = f"sample {self.keys[self.failed]} ({self.place})" if self.failed >= 0 else f"{self.place}, to collate it"
            self.error.add_note(f"threads: raised over {sample}")
            raise self.error
        batch, self.batch = self.batch, None
        return batch

    def cancel(self, until: float) -> None:
        """Waits until no thread is at it any longer, or `until` then (`monotonic`); what is not begun is not read.

        One that is at it still keeps its memory from everybody else.
        """
        self.wanted = False
        self.done.wait(max(0.0, until - monotonic()))


def chunk_ranges(size: int, parts: int) -> Iterator[range]:
    """0 to size - 1 in at most `parts` runs of nearly the same length."""
    for part in range(parts):
        places = range(part * size // parts, (part + 1) * size // parts)
        if places:
            yield places
