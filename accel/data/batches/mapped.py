"""Batches of a map-style data set."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, TensorDataset, default_collate

from accel.data.batches.assembly import BatchAssembly, FillSeveral
from accel.data.batches.bad_samples import MISSING, RAISE, BadSampleHandler, BadSampleLog, BadSampleRule, UnreadableSample
from accel.data.batches.base import Batches, Order, length_of
from accel.data.batches.collation import Collate, collate_of, table_of
from accel.data.batches.counted import BY_STRUCTURE, CountedBatch, Trust
from accel.data.batches.read_rate import ReadRateMeter
from accel.data.randomness.sample_randomness import SampleRandomness
from accel.data.ranks.rank_share import SINGLE_RANK, RankShare
from accel.data.sampling import permutation, sample_rng
from accel.errors import ConfigError

__all__ = ["MakeAssembly", "MapBatches", "can_fill_all", "fill_several_of"]

MakeAssembly = Callable[[int, list[int]], BatchAssembly]
"""Function from an epoch and the numbers of samples to the assembly of their batch."""


class MapBatches(Batches):
    """Batches of a map-style data set: the order is a function of (seed, epoch), a sample's randomness of (seed, epoch, index).

    So are numbers that it draws from Python's, numpy's or torch's global generators, or from some that it holds
    (`accel.data.randomness.sample_randomness`), in `collate` too.

    The data set may define, beside `__len__`:

    - `__getitem__(index)`.
    - `sample(index, rng)`: called instead of `__getitem__`, with a numpy Generator of the sample's own.
    - `collate(samples)`, or `collate_fn`: makes a batch; else torch's `default_collate` does.
    - `fill(index, rng, out)`, `shape`, `dtype`: for samples that are numpy records of one shape. It writes into the array `out` and
      returns the label, or None. The Generator is the sample's until `fill` returns. Such a data set needs neither `sample` nor
      `__getitem__`; one that has them gives equal samples by each.
    - `can_fill_all`, `fill_all(keys, seed, epoch, out)`: if the first is true, the second writes several samples and returns
      their labels, equal to those of `fill`.
    - `fill_each(keys, seed, epoch, out)`: writes several samples one after another, and yields the label of each as soon as it
      is written, equal to those of `fill`. What it raises is raised by `fill` again, or does not matter.
    - `plan_notes()`: facts for the plan, by name.

    Args:
        data: the data set.
        batch_size: samples per batch and rank.
        seed: of the run.
        shuffle: another order in every epoch.
        share: the part of this process.
        bad: the rule for samples that cannot be read.
        order: of an epoch, where it is shuffled.
        collate: the user's function that makes a batch of a list of samples; None for the data set's own, or torch's.

    Raises:
        ConfigError: if `data` has no `__len__`.
    """

    samples: int
    meter: ReadRateMeter
    bad_sample_log: BadSampleLog
    orderable = is_counted = can_be_read_aside = True

    def __init__(
        self, data: Any, batch_size: int, seed: int, shuffle: bool, share: RankShare = SINGLE_RANK, bad: BadSampleRule = RAISE,
        order: Order = permutation, collate: Collate | None = None,
    ) -> None:  # fmt: skip
        self.data, self.batch_size, self.seed, self.shuffle, self.share, self.order = data, batch_size, seed, shuffle, share, order
        samples = length_of(data)
        if samples is None:
            raise ConfigError(f"data is a {type(data).__name__} without __len__; say there how many samples it has")
        self.samples = samples
        self.count = share.batches(samples, batch_size)
        self.bad_sample_handler, self.bad_sample_log = BadSampleHandler(bad, seed, samples), BadSampleLog(bad, samples)
        self.meter = ReadRateMeter()
        self.collate: Collate = collate_of(data) if collate is None else collate
        table = table_of(data)
        self.is_table = collate is None and self.collate is default_collate and table is not None
        """Whether a row must hold no list, of which torch would make a batch place by place."""
        self.read_rows = None if table is None else getattr(data, "__getitems__", None)
        """Method that reads several rows of a table together, as a DataLoader does."""
        self.reads_whole = self.read_rows is not None and getattr(table, "format", {}).get("type") == "custom"
        """Whether a batch is read in one piece: a function of the user's is given its rows, and may pad them to one length."""
        self.has_sample = hasattr(data, "sample")
        self.has_fill = hasattr(data, "fill")
        self.randomness = SampleRandomness(data, seed, given=self.has_sample or self.has_fill)
        self.has_fill_all = can_fill_all(data)
        self.fill_several = fill_several_of(data)
        self.has_getitem = getattr(type(data), "__getitem__", Dataset.__getitem__) is not Dataset.__getitem__

    def __getstate__(self) -> dict[str, Any]:
        """Return what a worker process needs. It counts no samples, and the user's function may belong to the whole task."""
        return vars(self) | {"counter": BY_STRUCTURE}

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Any]:
        for number, keys in enumerate(self.batches_of_indices(epoch, start), start):
            started = perf_counter()
            batch = [self.fetch(epoch, keys, number)]
            self.meter.add(len(keys), perf_counter() - started)
            if batch[0] is not MISSING:
                yield batch.pop()  # nothing here holds it meanwhile

    def counted(self, batches: Iterator[Any], start: int) -> Iterator[CountedBatch]:
        trust: Trust = "size" if self.collate is default_collate else "neither"
        trust = "batch" if self.bad_sample_handler.rule.policy == "skip" else trust
        return self.share.counted(batches, start, self.samples, self.batch_size, self.counter, trust)

    def plan_notes(self) -> dict[str, str]:
        own: dict[str, str] = getattr(self.data, "plan_notes", dict)()
        return own if self.stateless or self.in_memory else {"random numbers": "of a sample, by seed, epoch and index"} | own

    def batches_of_indices(self, epoch: int, start: int = 0) -> Iterator[Tensor]:
        """Yield the indices of each batch of this rank, (size,) int64; the last batch may be short."""
        order = self.order(self.samples, self.seed, epoch) if self.shuffle else torch.arange(self.samples, device="cpu")
        yield from islice(torch.split(self.share.indices(order, self.batch_size), self.batch_size), start, None)

    def fetch(
        self, epoch: int, keys: Tensor, number: int, assembly: Callable[[int, list[int]], BatchAssembly] | None = None
    ) -> Any:
        """Return the batch of samples `keys`, (size,) int64, or MISSING.

        Tensors in memory are indexed at once, which gives the batch that collating their samples would. In a thread that reads
        ahead, a batch that draws random numbers raises ReadInTurn: all from `number` on are read by the training's own thread then.
        `assembly(epoch, keys)` makes another assembly than the plain one.
        """
        if self.in_memory:
            return tuple(tensor[keys] for tensor in self.data.tensors)
        make = partial(assembly or partial(BatchAssembly, self), epoch, keys.tolist())
        batch, bad = self.randomness.read(partial(_assemble, make), partial(self.epoch, epoch, number))
        self.bad_sample_log.add(bad)
        return batch

    @property
    def in_memory(self) -> bool:
        """Whether a batch is made by indexing tensors, which no reader beside this one could do sooner."""
        return type(self.data) is TensorDataset and self.collate is default_collate

    @property
    def stateless(self) -> bool:
        """Whether a sample is given its random numbers; else the data set may draw them from elsewhere."""
        return self.has_sample or (self.has_fill and not self.has_getitem)

    def sample(self, epoch: int, key: int) -> Any:
        """Return sample number `key`, as it is in `epoch`."""
        self.randomness.seed_sample(epoch, key)
        if self.has_sample:
            return self.data.sample(key, sample_rng(self.seed, epoch, key))
        if self.has_fill and not self.has_getitem:
            out = np.empty(self.data.shape, self.data.dtype)
            label = self.data.fill(key, sample_rng(self.seed, epoch, key), out)
            return torch.from_numpy(out) if label is None else (torch.from_numpy(out), label)
        return self.data[key]


def _assemble(make: Callable[[], BatchAssembly]) -> tuple[Any, list[UnreadableSample]]:
    """Return a batch that is read here, and the samples of it that could not be read."""
    assembly = make()
    for _ in assembly.fill_slots(range(len(assembly.keys))):
        pass
    return assembly.finish(), assembly.bad


def can_fill_all(data: Any) -> bool:
    """Return whether a data set says that it writes several samples at once."""
    return bool(getattr(data, "can_fill_all", getattr(data, "at_once", False)))  # `at_once` was the name before 0.1.0


def fill_several_of(data: Any) -> FillSeveral | None:
    """Return the method by which a data set writes several samples; None if it has none, or a subclass has changed `fill` alone."""
    if can_fill_all(data):
        return getattr(data, "fill_all", None)
    owner = next((kind for kind in type(data).__mro__ if vars(kind).keys() & {"fill", "fill_each"}), object)
    return data.fill_each if "fill_each" in vars(owner) else None
