"""Pool of a fixed number of threads, and batches of which each thread reads a part."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from queue import SimpleQueue
from time import monotonic, perf_counter
from typing import Any, Protocol
from weakref import finalize

from accel.data.randomness.tripwire import reading_ahead
from accel.device.cuda.device_threads import DeviceThread

__all__ = ["GRACE", "BatchRead", "BatchWork", "ThreadPool", "chunk_ranges"]

GRACE = 1.0
"""Seconds that a thread gets for the sample it is reading. One that hangs is left behind, and ends after the sample."""


class ThreadPool:
    """Threads that wait for work, until they are closed or nobody holds the pool any longer.

    Args:
        count: of threads.
    """

    def __init__(self, count: int) -> None:
        self.closed = False
        self.work: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self.threads = [DeviceThread(target=_serve, args=(self.work,), name="accel-reader", daemon=True) for _ in range(count)]
        self.end = finalize(self, _end, self.work, count)  # the threads hold the queue alone
        self.end.atexit = False
        for thread in self.threads:
            thread.start()

    def close(self) -> None:
        """End the threads, each after the sample that it is reading; wait for that no longer than `GRACE`."""
        self.closed = True
        self.end()
        deadline = monotonic() + GRACE
        for thread in self.threads:
            thread.join(max(0.0, deadline - monotonic()))


def _serve(queue: SimpleQueue[Callable[[], None] | None]) -> None:
    """Do the work of a queue until it is None; the work of a thread."""
    with reading_ahead():
        while (work := queue.get()) is not None:
            work()
            del work  # it holds a batch


def _end(queue: SimpleQueue[Callable[[], None] | None], count: int) -> None:
    """Tell so many threads to end. It may be called in one of them, which has let go of the pool."""
    for _ in range(count):
        queue.put(None)


class BatchWork(Protocol):
    """Work of one batch."""

    keys: list[int]
    """The numbers of its samples."""

    def reading(self) -> AbstractContextManager[Any]:
        """Return a context in which a thread reads some of the samples, or makes the batch."""

    def fill_slots(self, places: range) -> Iterator[int]:
        """Read samples of the batch, from 0. Yield each place just before its sample is read. Called by several threads at once."""

    def finish(self) -> Any:
        """Return the batch, once all samples are read. Called by the thread that read the last of them."""


class BatchRead:
    """Reading of one batch, in parts of several samples.

    Args:
        threads: that read.
        work: to do.
        position: where the batch stands, in words.
        parts: the number of parts, at most.
    """

    def __init__(self, threads: ThreadPool, work: BatchWork, place: str, parts: int) -> None:
        self.threads, self.keys, self.position = threads, work.keys, place
        self.work: BatchWork | None = work
        """None once the batch is made: a thread that lets go of this reading later must not hold the batch's memory."""
        size = len(work.keys)
        self.failed_place, self.error = size, None  # type: int, BaseException | None
        self.batch: Any = None
        self.busy_seconds = 0.0
        """Seconds of all threads together that reading it took, once it is done."""
        self.lock, self.done, self.wanted = threading.Lock(), threading.Event(), True
        ranges = list(chunk_ranges(size, parts))
        self.parts_left = len(ranges)
        for places in ranges:
            threads.work.put(partial(self._read_part, places))

    def _read_part(self, places: range) -> None:
        """Read the samples of one part; the last thread to end finishes the batch."""
        started = perf_counter()
        try:
            self._fill_slots(places)
        except BaseException as error:  # of the context: whatever it is, the batch's taker must not wait for ever
            self._fail(places.start, error)
        with self.lock:
            self.parts_left -= 1
            self.busy_seconds += perf_counter() - started
            last = self.parts_left == 0
        if last:
            started = perf_counter()
            self._finish()
            self.busy_seconds += perf_counter() - started
            self.done.set()

    def _fill_slots(self, places: range) -> None:
        """Read the samples of one part. Nothing of the work outlives this call in the thread."""
        assert self.work is not None
        work, place = self.work, places.start
        with work.reading():
            try:
                for place in work.fill_slots(places):
                    # the first sample that fails is the one to be named, whoever comes to it first
                    if not self.wanted or self.threads.closed or place > self.failed_place:
                        break
            except BaseException as error:
                self._fail(place, error)

    def _finish(self) -> None:
        """Make the batch, and let go of the work: before `done` is set, so that only the batch's taker holds its memory."""
        assert self.work is not None
        try:
            if self.error is None and self._wanted():
                with self.work.reading():
                    self.batch = self.work.finish()
        except BaseException as error:
            self._fail(-1, error)
        self.work = None

    def _wanted(self) -> bool:
        """Return whether the batch is still wanted."""
        return self.wanted and not self.threads.closed

    def _fail(self, place: int, error: BaseException) -> None:
        """Keep an error, if no sample before `place` has failed."""
        with self.lock:
            if place < self.failed_place:
                self.failed_place, self.error = place, error

    def take(self) -> Any:
        """Return the batch, once it is there.

        Raises:
            BaseException: the error of reading its first bad sample, with the sample's number in a note.
        """
        self.done.wait()
        if self.error is not None:
            sample = (
                f"sample {self.keys[self.failed_place]} ({self.position})"
                if self.failed_place >= 0
                else f"{self.position}, to collate it"
            )
            self.error.add_note(f"threads: raised over {sample}")
            raise self.error
        batch, self.batch = self.batch, None
        return batch

    def cancel(self, deadline: float) -> None:
        """Wait until no thread reads it any longer, or until the deadline (`monotonic`); parts that have not begun are not read.

        A thread that still reads it keeps its memory from everybody else.
        """
        self.wanted = False
        self.done.wait(max(0.0, deadline - monotonic()))


def chunk_ranges(size: int, parts: int) -> Iterator[range]:
    """Yield the numbers from 0 to size - 1 in at most `parts` ranges of nearly equal length."""
    for part in range(parts):
        places = range(part * size // parts, (part + 1) * size // parts)
        if places:
            yield places
