"""Threads that write samples side by side into batches whose memory is used again and again."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import chain
from types import TracebackType
from typing import Any

from torch import Tensor
from torch.utils.data import default_collate

from accel.data.batches import Batches, Mapped
from accel.data.quiet import when_quiet
from accel.data.slots import Slots
from accel.data.threads import Reading, Threads, Work
from accel.errors import ConfigError
from accel.machine import cores
from accel.order import borrowed_rng


class Ring:
    """The batches of a map-style data set, read by threads: those that a DataLoader in order gives, epoch after epoch.

    A data set that defines `fill(index, rng, out) -> label`, `shape` and `dtype` (`accel.data.batches.Mapped`) writes its samples
    straight into the memory of a batch. That memory is used again when the last tensor over it is gone; copy what you keep, or
    the ring grows. Others are read by `sample(index, rng)` or `__getitem__`, and collated.

    Args:
        data: the data set. Its methods are called by several threads at once.
        batch_size: samples per batch; the last one of an epoch may be short.
        seed: of the order, which is a function of (seed, epoch), and of each sample's random numbers: of (seed, epoch, index).
        shuffle: another order in every epoch.
        threads: how many; None is one for each core.
        depth: batches that are read ahead.
        pin: pinned memory, for copies with `non_blocking=True`. Hold a batch until its copy is done.

    Raises:
        ConfigError: for data that is not map-style.
    """

    def __init__(
        self, data: Any, batch_size: int, *, seed: int = 0, shuffle: bool = False, threads: int | None = None, depth: int = 3,
        pin: bool = False,
    ) -> None:  # fmt: skip
        batches = Batches.over(data, batch_size, seed, shuffle)
        if not isinstance(batches, Mapped):
            raise ConfigError(f"data is a {type(data).__name__}; a Ring reads a data set with __len__, sample by sample")
        self._set(batches, depth, pin)
        self.threads = Threads(threads or cores())

    @classmethod
    def over(cls, batches: Mapped, threads: Threads, depth: int, pin: bool) -> Ring:
        """A ring over batches that are there, read by threads that others use too."""
        ring = cls.__new__(cls)
        ring._set(batches, depth, pin)
        ring.threads, ring.who = threads, "threads"
        return ring

    def _set(self, batches: Mapped, depth: int, pin: bool) -> None:
        self.batches, self.depth = batches, depth
        self.slots: Slots | None = None
        self.who = "Ring"
        if batches.fills and batches.collate is default_collate:
            size = min(batches.batch_size, batches.samples)
            self.slots = Slots((size, *batches.data.shape), batches.data.dtype, pin)
        self.quiet = batches.draws or batches.fills

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Any]:
        """The batches of `epoch` from number `start` on, in order. Whoever stops early ends the reading."""
        if self.quiet:
            return self._read(epoch, start)
        plain = self.batches.epoch(epoch, start)

        def rest(head: list[Any], passed: int) -> Iterator[Any]:
            self.quiet = True
            return chain(head, self._read(epoch, start + passed + len(head)))

        return when_quiet(plain, rest, self.who)

    def _read(self, epoch: int, start: int) -> Iterator[Any]:
        under_way: deque[Reading] = deque()
        try:
            for number, keys in enumerate(self.batches.keys(epoch, start), start + 1):
                place = f"batch {number} of epoch {epoch + 1}"
                parts = 1 if self.batches.at_once else 4 * len(self.threads.threads)
                under_way.append(Reading(self.threads, self._work(epoch, keys.tolist()), place, parts))
                if len(under_way) > self.depth:
                    yield under_way.popleft().take()
            while under_way:
                yield under_way.popleft().take()
        finally:
            for reading in under_way:
                reading.cancel()

    def _work(self, epoch: int, keys: list[int]) -> Work:
        if self.slots is None:
            return Collected(self.batches, epoch, keys)
        kind = Whole if self.batches.at_once else Written
        return kind(self.batches, epoch, keys, self.slots.borrow(len(keys)))

    def close(self) -> None:
        """Ends the threads."""
        self.threads.close()

    def __enter__(self) -> Ring:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


class Collected:
    """A batch of samples that are read one by one, and collated."""

    def __init__(self, batches: Mapped, epoch: int, keys: list[int]) -> None:
        self.batches, self.epoch, self.keys = batches, epoch, keys
        self.samples: list[Any] = [None] * len(keys)

    def read(self, place: int) -> None:
        self.samples[place] = self.batches.one(self.epoch, self.keys[place])

    def finish(self) -> Any:
        return self.batches.collate(self.samples)


class Written:
    """A batch whose samples are written side by side into `out`."""

    def __init__(self, batches: Mapped, epoch: int, keys: list[int], out: Tensor) -> None:
        self.batches, self.epoch, self.keys = batches, epoch, keys
        self.out, self.rows = out, out.numpy()
        self.labels: list[Any] = [None] * len(keys)

    def read(self, place: int) -> None:
        key = self.keys[place]
        rng = borrowed_rng(self.batches.seed, self.epoch, key)
        self.labels[place] = self.batches.data.fill(key, rng, self.rows[place])

    def finish(self) -> Any:
        return self.out if self.labels[0] is None else [self.out, default_collate(self.labels)]


class Whole(Written):
    """A batch whose samples are written at once; one by one where that fails, so that the bad one is named."""

    whole = False

    def read(self, place: int) -> None:
        if place == 0:
            data = self.batches.data
            try:
                self.labels = data.fill_all(self.keys, self.batches.seed, self.epoch, self.rows)
                self.whole = True
            except ConfigError:
                pass
        if not self.whole:
            super().read(place)
