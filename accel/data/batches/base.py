"""The batches of an epoch, whatever the user's data is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset, TensorDataset, default_collate

from accel.data.batches.bad_samples import GONE, RAISE, Fates, Ledger, Rule
from accel.data.batches.collected import Collected
from accel.data.batches.counted import Dealt, count_items
from accel.data.batches.rank_share import ALONE, Share
from accel.data.batches.read_rate import Meter
from accel.data.sampling import permutation, sample_rng
from accel.device.rng import seeded
from accel.errors import ConfigError

Order = Callable[[int, int, int], Tensor]
"""From the number of samples, the seed and the epoch to the order of an epoch, (samples,) int64."""


class Batches(ABC):
    """The batches of one data set, epoch after epoch."""

    count: int | None = None
    """Batches per epoch and rank; None where the data does not tell."""
    samples: int | None = None
    """Samples per epoch, of all ranks; None where the data does not tell."""
    batched_here: bool = True
    """Whether `batch_size` is ours to choose."""
    share: Share = ALONE
    """Which part of it this process reads."""
    meter: Meter | None = None
    """How fast samples are read; None where that is not measured."""
    ledger: Ledger | None = None
    """The samples that could not be read; None where they are not ours to read one by one."""
    ordered: bool = False
    """Whether the order is ours to choose."""

    @abstractmethod
    def epoch(self, epoch: int, start: int = 0) -> Iterator[Any]:
        """The batches of `epoch`, from number `start` on."""

    def dealt(self, batches: Iterator[Any], start: int) -> Iterator[Any]:
        """The batches of an epoch, whoever read them, as `Dealt` where there are several ranks. The first is number `start`."""
        return batches

    def describe(self) -> str:
        """How much there is, in words."""
        if self.samples is None:
            return "unknown size" if self.count is None else f"{self.count:,} batches"
        return f"{self.samples:,} samples"

    def notes(self) -> dict[str, str]:
        """What the plan shall say of the data, by the name of the fact."""
        return {}

    @staticmethod
    def over(
        data: Any,
        batch_size: int,
        seed: int = 0,
        shuffle: bool = False,
        share: Share = ALONE,
        bad: Rule = RAISE,
        order: Order = permutation,
    ) -> Batches:
        """Batches over a map-style or iterable data set, or over a re-iterable of ready batches, passed through untouched.

        `share` is what of them this process reads, and `bad` what to do about samples of a map-style data set that cannot be read.
        `order` is that of an epoch of one, where it is shuffled.
        """
        if isinstance(data, IterableDataset):
            return Streamed(data, batch_size, share)
        has = [hasattr(data, name) for name in ("__getitem__", "__len__", "__iter__")]
        # __getitems__ is how torch's loaders ask a data set for several samples; those that can also be iterated have it
        if isinstance(data, Dataset) or has == [True, True, False] or hasattr(data, "__getitems__") or hasattr(data, "fill"):
            return Mapped(data, batch_size, seed, shuffle, share, bad, order)
        if not isinstance(data, Iterable):
            raise ConfigError(
                f"data is a {type(data).__name__}, which is neither a data set nor an iterable of batches; "
                "pass a torch Dataset, a DataLoader or a list of batches"
            )
        if isinstance(data, Iterator):
            raise ConfigError(
                f"data is a {type(data).__name__}, which can be read only once, and every epoch reads it anew; "
                "pass a Dataset, a DataLoader, a list of batches or an object whose __iter__ starts again"
            )
        return Ready(data, seed, share)


class Mapped(Batches):
    """A map-style data set: the order is a function of (seed, epoch), a sample's randomness of (seed, epoch, index).

    A data set that draws random numbers defines `sample(index, rng)`, called instead of `__getitem__` with a numpy Generator
    of its own; one that defines `collate(samples)` makes its own batches of them. What
    `plan_notes()` returns, facts by name, stands in the plan. One whose samples are numpy records of one
    shape may define `fill(index, rng, out)` beside `shape` and `dtype`: it writes into the array `out` and returns the label, or
    None where there is none. It needs neither `sample` nor `__getitem__` then; one that has them gives the same by each. The
    Generator is the sample's until `fill` returns. Where it also has `at_once`, and that is true, its `fill_all(keys, seed, epoch,
    out)` writes several samples and returns their labels, the same as by `fill`.
    """

    samples: int
    meter: Meter
    ledger: Ledger
    ordered = True

    def __init__(
        self, data: Any, batch_size: int, seed: int, shuffle: bool, share: Share = ALONE, bad: Rule = RAISE,
        order: Order = permutation,
    ) -> None:  # fmt: skip
        self.data, self.batch_size, self.seed, self.shuffle, self.share, self.order = data, batch_size, seed, shuffle, share, order
        samples = _length(data)
        if samples is None:
            raise ConfigError(f"data is a {type(data).__name__} without __len__; say there how many samples it has")
        self.samples = samples
        self.count = share.batches(samples, batch_size)
        self.fates, self.ledger = Fates(bad, seed, samples), Ledger(bad, samples)
        self.meter = Meter()
        self.collate = getattr(data, "collate", default_collate)
        self.draws = hasattr(data, "sample")
        self.fills = hasattr(data, "fill")
        self.at_once = bool(getattr(data, "at_once", False))
        self.gets = getattr(type(data), "__getitem__", Dataset.__getitem__) is not Dataset.__getitem__

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Any]:
        for keys in self.keys(epoch, start):
            since = perf_counter()
            batch = [self.fetch(epoch, keys)]
            self.meter.add(len(keys), perf_counter() - since)
            if batch[0] is not GONE:
                yield batch.pop()  # nothing here holds it meanwhile

    def dealt(self, batches: Iterator[Any], start: int) -> Iterator[Any]:
        return self.share.dealt(batches, start, self.samples, self.batch_size)

    def notes(self) -> dict[str, str]:
        tell = getattr(self.data, "plan_notes", None)
        return tell() if tell else {}

    def keys(self, epoch: int, start: int = 0) -> Iterator[Tensor]:
        """The indices of each batch of this rank, int64; the last batch may be short."""
        order = self.order(self.samples, self.seed, epoch) if self.shuffle else torch.arange(self.samples, device="cpu")
        yield from islice(torch.split(self.share.own(order, self.batch_size), self.batch_size), start, None)

    def fetch(self, epoch: int, keys: Tensor) -> Any:
        """One batch, or GONE. Tensors in memory are indexed at once, which gives what collating their samples would."""
        if self.in_memory:
            return tuple(tensor[keys] for tensor in self.data.tensors)
        work = Collected(self, epoch, keys.tolist())
        for place in range(len(work.keys)):
            work.read(place)
        batch = work.finish()
        self.ledger.note(work.bad)
        return batch

    @property
    def in_memory(self) -> bool:
        """Whether a batch is made by indexing tensors, which no reader beside this one could do sooner."""
        return type(self.data) is TensorDataset

    @property
    def stateless(self) -> bool:
        """Whether a sample's randomness is its own; else the data set may draw from the global random numbers."""
        return self.draws or (self.fills and not self.gets)

    def one(self, epoch: int, key: int) -> Any:
        """Sample number `key` as it is in `epoch`."""
        if self.draws:
            return self.data.sample(key, sample_rng(self.seed, epoch, key))
        if self.fills and not self.gets:
            out = np.empty(self.data.shape, self.data.dtype)
            label = self.data.fill(key, sample_rng(self.seed, epoch, key), out)
            return torch.from_numpy(out) if label is None else (torch.from_numpy(out), label)
        return self.data[key]


class Streamed(Batches):
    """An iterable data set, batched in its own order. One that has `set_epoch` is told the epoch.

    Several ranks each read the whole stream and keep their part: it must be the same for all, and not be split by itself.
    """

    meter: Meter

    def __init__(self, data: IterableDataset[Any], batch_size: int, share: Share = ALONE) -> None:
        self.data, self.share = data, share
        self.step = batch_size * share.ranks
        self.collate = getattr(data, "collate", default_collate)
        self.meter = Meter()
        self.samples = _length(data)
        self.count = None if self.samples is None else share.batches(self.samples, batch_size)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Any]:
        if hasattr(self.data, "set_epoch"):
            self.data.set_epoch(epoch)
        return self._batches(_from(iter(self.data), start * self.step))

    def _batches(self, samples: Iterator[Any]) -> Iterator[Any]:
        since = perf_counter()
        while batch := list(islice(samples, self.step)):
            size, mine = len(batch), self.share.piece(batch)
            made = [self.share.deal(self.collate(mine), size)]
            self.meter.add(len(mine), perf_counter() - since)
            yield made.pop()
            since = perf_counter()


class Ready(Batches):
    """Ready batches of the user's own making, passed through untouched. A sampler that has `set_epoch` is told the epoch.

    Several ranks each go through all of them, and keep every so-manieth: they must come in the same order for all. What the
    first of an epoch draws from the global random numbers (a DataLoader its order) is the same for all.
    """

    batched_here = False

    def __init__(self, data: Iterable[Any], seed: int = 0, share: Share = ALONE) -> None:
        self.data, self.seed, self.share = data, seed, share
        count = _length(data)
        self.count = None if count is None else share.batches(count, 1)
        self.samples = _length(getattr(data, "dataset", None))

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Any]:
        for teller in (self.data, getattr(self.data, "sampler", None)):
            tell = getattr(teller, "set_epoch", None)
            if tell is not None:
                tell(epoch)
        if self.share.ranks == 1:
            return _from(iter(self.data), start)
        with seeded(self.seed, epoch):
            iterator = iter(self.data)
            head = list(islice(iterator, 1))
        return self._turns(_from(chain(head, iterator), start * self.share.ranks))

    def _turns(self, batches: Iterator[Any]) -> Iterator[Any]:
        while turn := list(islice(batches, self.share.ranks)):
            counts = [count_items(batch) for batch in turn]
            batch, borrowed = self.share.turn(turn)
            yield Dealt(batch, 0 if borrowed else counts[self.share.rank], sum(counts))


def _from(iterator: Iterator[Any], start: int) -> Iterator[Any]:
    """The rest of it from number `start` on; what comes before is read here and now, while the random generators are set for it."""
    for _ in islice(iterator, start):
        pass
    return iterator


def _length(data: Any) -> int | None:
    """`len(data)`, or None where it has none (an IterableDataset raises TypeError, some loaders NotImplementedError)."""
    try:
        return len(data)
    except (TypeError, NotImplementedError):
        return None
