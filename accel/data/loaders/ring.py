"""Ring of batches: threads write samples side by side into memory that is used again and again."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from functools import partial
from time import monotonic, perf_counter
from types import TracebackType
from typing import Any

from torch import Tensor

from accel.data.batches.assembly import BatchAssembly, InPlaceAssembly
from accel.data.batches.bad_samples import MISSING, BadSamplePolicy, BadSampleRule, UnreadableSample
from accel.data.batches.base import BatchOptions
from accel.data.batches.make_batches import make_batches
from accel.data.batches.mapped import MapBatches
from accel.data.loaders.buffer_pool import BufferPool, batch_of, buffer_pool_of
from accel.data.loaders.thread_pool import GRACE, BatchRead, ThreadPool
from accel.data.randomness.rng_guard import MAX_ALARMS, warn_no_read_ahead
from accel.data.randomness.tripwire import Drew, ReadInTurn, reads_ahead
from accel.errors import ConfigError
from accel.system.machine import cores
from accel.values import Count, Fraction, Whole, check_value

__all__ = ["TOGETHER", "Ring", "RingAssembly"]

TOGETHER = 16
"""Samples of a part, at least, if the data set reads several together (`fill_each`)."""


class Ring:
    """Batches of a map-style data set, read by threads, equal to those of a DataLoader without workers.

    A data set that defines `fill(index, rng, out) -> label`, `shape` and `dtype` (`accel.data.batches.mapped.MapBatches`) writes
    its samples straight into the memory of a batch. That memory is used again when the last tensor over it is gone. Copy a batch to
    keep it, or the ring grows. Other data sets are read by `sample(index, rng)` or `__getitem__`, and collated.

    `ring.epoch(n)` gives the batches of epoch `n`. `for batch in ring` gives those of epoch 0, the next such loop those of epoch 1,
    and so on. The threads end with `close`, at the end of a `with`, or when nobody holds the ring any longer.

    Args:
        data: the data set. Its methods are called by several threads at once.
        batch_size: samples per batch; the last one of an epoch may be short.
        seed: of the order, which is a function of (seed, epoch), and of each sample's random numbers: of (seed, epoch, index).
        shuffle: another order in every epoch.
        threads: how many; None is one for each core.
        depth: batches that are read ahead.
        pin: pinned memory, for copies with `non_blocking=True`. Hold a batch until its copy is done.
        bad: for a sample that cannot be read: raise its error, skip it, or substitute another
            (`accel.data.batches.bad_samples`).
        bad_limit: the largest share of the samples that may be bad. `ring.bad` has their numbers with the reasons.

    Raises:
        ConfigError: for data that is not map-style, and for a value that does not fit its setting.
        TrainingError: if more samples are bad than `bad_limit` allows, when they are read.
    """

    def __init__(
        self, data: Any, batch_size: int, *, seed: int = 0, shuffle: bool = False, threads: int | None = None, depth: int = 3,
        pin: bool = False, bad: BadSamplePolicy = "raise", bad_limit: float = 0.01,
    ) -> None:  # fmt: skip
        for name, value, kind in (
            ("batch_size", batch_size, Count), ("threads", threads, Count | None), ("depth", depth, Whole),
            ("bad", bad, BadSamplePolicy), ("bad_limit", bad_limit, Fraction),
        ):  # fmt: skip
            check_value(f"Ring's {name}", value, kind)
        batches = make_batches(data, batch_size, seed, shuffle, bad=BadSampleRule(bad, bad_limit), options=BatchOptions(sized=True))
        if not isinstance(batches, MapBatches):
            raise ConfigError(f"data is a {type(data).__name__}; a Ring reads a data set with __len__, sample by sample")
        self._configure(batches, depth, pin)
        self.threads = ThreadPool(threads or cores())

    @classmethod
    def from_batches(cls, batches: MapBatches, threads: ThreadPool, depth: int, pin: bool) -> Ring:
        """Return a ring over existing batches, read by threads that others use too."""
        ring = cls.__new__(cls)
        ring._configure(batches, depth, pin)
        ring.threads, ring.name = threads, "threads"
        return ring

    def _configure(self, batches: MapBatches, depth: int, pin: bool) -> None:
        """Set all but the threads."""
        self.batches, self.depth, self.next_epoch = batches, depth, 0
        self.pool = buffer_pool_of(batches, pin, BufferPool)
        self.name = "Ring"
        self.first_in_turn = not batches.randomness.trusted
        """Whether the next batch is read by the caller's thread, which tells whether reading it draws random numbers."""
        self.warned, self.count = False, batches.count or 0

    @property
    def bad(self) -> dict[int, str]:
        """Reasons of the samples that could not be read so far, by number."""
        return self.batches.bad_sample_log.reasons

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Any]:
        """Yield the batches of `epoch` from number `start` on, in order. A caller that stops early ends the reading."""
        alarms, number = 0, start
        while number < self.count:
            randomness = self.batches.randomness
            if reads_ahead() and (self.first_in_turn or randomness.draws):
                raise ReadInTurn(partial(self.epoch, epoch, number), certain=randomness.draws, late=alarms > 0)
            if randomness.draws or alarms == MAX_ALARMS:
                self._warn(late=alarms > 0)
                yield from self.batches.epoch(epoch, number)
                return
            try:
                if self.first_in_turn:
                    keys = next(self.batches.batches_of_indices(epoch, number))
                    started = perf_counter()
                    batch = [self.batches.fetch(epoch, keys, number, self._assembly)]
                    self.batches.meter.add(len(keys), perf_counter() - started)
                    number, self.first_in_turn = number + 1, False
                    if batch[0] is not MISSING:
                        yield batch.pop()
                else:
                    for after, batch in self._read(epoch, number):
                        number = after
                        yield batch.pop()
                    return
            except ReadInTurn:
                alarms, self.first_in_turn = alarms + 1, True

    def _warn(self, late: bool) -> None:
        """Warn, once, that the threads have nothing to do."""
        if not self.warned:
            self.warned = True
            warn_no_read_ahead(self.name, late)

    def _read(self, epoch: int, start: int) -> Iterator[tuple[int, list[Any]]]:
        """Yield the batches, each read by all threads, `depth` of them ahead; each in a list, with the number of the next one.

        Raises:
            ReadInTurn: if something has drawn random numbers while a batch was read.
        """
        pending: deque[tuple[int, BatchRead, list[UnreadableSample], list[bool]]] = deque()
        parts = self._parts()
        try:
            for number, keys in enumerate(self.batches.batches_of_indices(epoch, start), start + 1):
                position = f"batch {number} of epoch {epoch + 1}"
                assembly = self._assembly(epoch, keys.tolist())
                pending.append((number, BatchRead(self.threads, assembly, position, parts), assembly.bad, assembly.alarms))
                del assembly  # it holds the batch
                if len(pending) > self.depth:
                    yield from self._finished(*pending.popleft())
            while pending:
                yield from self._finished(*pending.popleft())
        finally:
            deadline = monotonic() + GRACE
            for _, reading, *_ in pending:
                reading.cancel(deadline)

    def _parts(self) -> int:
        """Return the number of parts of a batch, each read by one thread.

        What is read together costs less in large parts, as long as those of all batches in work are two for each thread.
        """
        threads = len(self.threads.threads)
        if self.batches.reads_whole:
            return 1
        if self.pool is None or self.batches.fill_several is None:
            return 4 * threads
        if self.batches.has_fill_all:
            return 1
        return min(4 * threads, max(-(-2 * threads // (self.depth + 1)), self.batches.batch_size // TOGETHER))

    def _finished(
        self, number: int, reading: BatchRead, bad: list[UnreadableSample], alarms: list[bool]
    ) -> Iterator[tuple[int, list[Any]]]:
        """Yield the batch and the number of the next, unless nothing is left of it. Nothing here holds it while others have it.

        Raises:
            ReadInTurn: if something has drawn random numbers while it was read.
        """
        try:
            batch = [reading.take()]
        except (Exception, Drew):
            if not alarms:
                raise
        if alarms:
            raise ReadInTurn(lambda: iter(()), certain=False)
        self.batches.meter.add(len(reading.keys), reading.busy_seconds / len(self.threads.threads))
        self.batches.bad_sample_log.add(bad)
        if batch[0] is not MISSING:
            yield number, batch

    def _assembly(self, epoch: int, keys: list[int]) -> BatchAssembly:
        """Return the assembly of a batch: in memory of the pool, if the data set writes into given memory."""
        if self.pool is None:
            return BatchAssembly(self.batches, epoch, keys)
        return RingAssembly(self.batches, epoch, keys, self.pool.borrow(len(keys)))

    def close(self) -> None:
        """End the threads."""
        self.threads.close()

    def __enter__(self) -> Ring:
        """Return the ring itself."""
        return self

    def __iter__(self) -> Iterator[Any]:
        """Return the batches of the next epoch: of number 0 at first, and one more each time."""
        self.next_epoch += 1
        return self.epoch(self.next_epoch - 1)

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        return self.batches.count or 0

    def set_epoch(self, epoch: int) -> None:
        """Set the number of the epoch that the next `for batch in ring` gives, from 0."""
        self.next_epoch = epoch

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """End the threads."""
        self.close()


class RingAssembly(InPlaceAssembly):
    """Assembly of a batch in memory of the ring.

    Args:
        batches: of a data set that has `fill`.
        epoch: from 0.
        keys: the numbers of its samples.
        out: (len(keys), *shape): the memory.
    """

    def __init__(self, batches: MapBatches, epoch: int, keys: list[int], out: Tensor) -> None:
        super().__init__(batches, epoch, keys, out.numpy())
        self.out = out

    def collate(self) -> Any:
        return batch_of(self.out, self.samples, self.kept_keys)
