"""Batches of a map-style data set, and the assembly of one batch from its samples."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import islice
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, TensorDataset, default_collate

from accel.data.batches.bad_samples import MISSING, RAISE, BadSampleHandler, BadSampleLog, BadSampleRule, UnreadableSample
from accel.data.batches.base import Batches, Order, length_of
from accel.data.batches.collation import Collate, check_sample, collate_samples
from accel.data.batches.counted import CountedBatch, Trust
from accel.data.batches.rank_share import SINGLE_RANK, RankShare
from accel.data.batches.read_rate import ReadRateMeter
from accel.data.sampling import permutation, reused_rng, sample_rng
from accel.errors import ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["BatchAssembly", "InPlaceAssembly", "MapBatches", "can_fill_all"]


class MapBatches(Batches):
    """Batches of a map-style data set: the order is a function of (seed, epoch), a sample's randomness of (seed, epoch, index).

    The data set may define, beside `__len__`:

    - `__getitem__(index)`: for samples without randomness.
    - `sample(index, rng)`: called instead of `__getitem__`, with a numpy Generator of the sample's own.
    - `collate(samples)`: makes a batch; else torch's `default_collate` does.
    - `fill(index, rng, out)`, `shape`, `dtype`: for samples that are numpy records of one shape. It writes into the array `out` and
      returns the label, or None. The Generator is the sample's until `fill` returns. Such a data set needs neither `sample` nor
      `__getitem__`; one that has them gives equal samples by each.
    - `can_fill_all`, `fill_all(keys, seed, epoch, out)`: if the first is true, the second writes several samples and returns
      their labels, equal to those of `fill`.
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
    orderable = True

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
        self.collate: Collate = getattr(data, "collate", default_collate) if collate is None else collate
        self.has_sample = hasattr(data, "sample")
        self.has_fill = hasattr(data, "fill")
        self.has_fill_all = can_fill_all(data)
        self.has_getitem = getattr(type(data), "__getitem__", Dataset.__getitem__) is not Dataset.__getitem__

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Any]:
        for keys in self.batches_of_indices(epoch, start):
            started = perf_counter()
            batch = [self.fetch(epoch, keys)]
            self.meter.add(len(keys), perf_counter() - started)
            if batch[0] is not MISSING:
                yield batch.pop()  # nothing here holds it meanwhile

    def counted(self, batches: Iterator[Any], start: int) -> Iterator[CountedBatch]:
        trust: Trust = "size" if self.collate is default_collate else "neither"
        trust = "batch" if self.bad_sample_handler.rule.policy == "skip" else trust
        return self.share.counted(batches, start, self.samples, self.batch_size, self.counter, trust)

    def plan_notes(self) -> dict[str, str]:
        notes = getattr(self.data, "plan_notes", None)
        return notes() if notes else {}

    def batches_of_indices(self, epoch: int, start: int = 0) -> Iterator[Tensor]:
        """Yield the indices of each batch of this rank, (size,) int64; the last batch may be short."""
        order = self.order(self.samples, self.seed, epoch) if self.shuffle else torch.arange(self.samples, device="cpu")
        yield from islice(torch.split(self.share.indices(order, self.batch_size), self.batch_size), start, None)

    def fetch(self, epoch: int, keys: Tensor) -> Any:
        """Return the batch of samples `keys`, (size,) int64, or MISSING.

        Tensors in memory are indexed at once, which gives the batch that collating their samples would.
        """
        if self.in_memory:
            return tuple(tensor[keys] for tensor in self.data.tensors)
        assembly = BatchAssembly(self, epoch, keys.tolist())
        for place in range(len(assembly.keys)):
            assembly.fill_slot(place)
        batch = assembly.finish()
        self.bad_sample_log.add(assembly.bad)
        return batch

    @property
    def in_memory(self) -> bool:
        """Whether a batch is made by indexing tensors, which no reader beside this one could do sooner."""
        return type(self.data) is TensorDataset and self.collate is default_collate

    @property
    def stateless(self) -> bool:
        """Whether a sample's randomness is its own; else the data set may draw from the global random numbers."""
        return self.has_sample or (self.has_fill and not self.has_getitem)

    def sample(self, epoch: int, key: int) -> Any:
        """Return sample number `key`, as it is in `epoch`."""
        if self.has_sample:
            return self.data.sample(key, sample_rng(self.seed, epoch, key))
        if self.has_fill and not self.has_getitem:
            out = np.empty(self.data.shape, self.data.dtype)
            label = self.data.fill(key, sample_rng(self.seed, epoch, key), out)
            return torch.from_numpy(out) if label is None else (torch.from_numpy(out), label)
        return self.data[key]


def can_fill_all(data: Any) -> bool:
    """Return whether a data set says that it writes several samples at once."""
    return bool(getattr(data, "can_fill_all", getattr(data, "at_once", False)))  # `at_once` was the name before 0.1.0


class BatchAssembly:
    """Assembly of one batch from samples that are read one by one, by any threads in any order, and collated.

    Args:
        batches: of the data set.
        epoch: from 0.
        keys: the numbers of its samples.
    """

    def __init__(self, batches: MapBatches, epoch: int, keys: list[int]) -> None:
        self.batches, self.epoch, self.keys = batches, epoch, keys
        self.kept_keys = keys
        """The numbers of the samples that are left, in order."""
        self.samples: list[Any] = [None] * len(keys)
        """The sample of each place; MISSING where it is left out."""
        self.bad: list[UnreadableSample] = []
        """Samples that could not be read."""

    def read_sample(self, place: int, key: int) -> Any:
        """Return sample number `key`, read for `place`."""
        sample = self.batches.sample(self.epoch, key)
        if self.batches.collate is default_collate:
            check_sample(sample, key, self.batches.bad_sample_handler.rule.dataset)
        return sample

    def fill_slot(self, place: int) -> None:
        """Read the sample of `place`, from 0, or its substitute."""
        key = self.keys[place]
        try:
            self.samples[place] = self.read_sample(place, key)
        except Exception as error:
            handler = self.batches.bad_sample_handler
            self.samples[place] = handler.handle(error, self.epoch, key, partial(self.read_sample, place), self.bad)

    def read_all(self) -> bool:
        """Read all samples together and return True; or return False where the caller must read them one by one."""
        return False

    def finish(self) -> Any:
        """Return the batch, once all samples are read; MISSING if nothing is left of it.

        Raises:
            TrainingError: if nothing is left of it and there are several ranks, or if no substitute can be read.
        """
        if not self.bad:
            return self.collate()
        if self.batches.bad_sample_handler.rule.refill and all(sample is MISSING for sample in self.samples):
            for place, key in enumerate(self.keys):
                self.samples[place] = self.batches.bad_sample_handler.substitute(
                    self.epoch, key, partial(self.read_sample, place), self.bad
                )
        self.bad.sort()  # whichever thread came first
        kept = [place for place, sample in enumerate(self.samples) if sample is not MISSING]
        if not kept and self.batches.share.ranks > 1:
            raise self.batches.bad_sample_handler.empty_batch_error(self.keys)
        if not kept:
            return MISSING
        self.compact(kept)
        return self.collate()

    def compact(self, kept: list[int]) -> None:
        """Drop the places that are not in `kept`."""
        self.kept_keys = [self.keys[place] for place in kept]
        self.samples = [self.samples[place] for place in kept]

    def collate(self) -> Any:
        """Return the batch of all samples that are left."""
        return collate_samples(self.batches.collate, self.samples, self.kept_keys, self.batches.bad_sample_handler.rule.dataset)


class InPlaceAssembly(BatchAssembly):
    """Assembly of a batch in memory that is given. A sample is its label then, and the batch is the list of labels, row by row.

    Args:
        batches: of a data set that has `fill`.
        epoch: from 0.
        keys: the numbers of its samples.
        rows: (len(keys) or more, *shape): the memory that they are written into.
    """

    def __init__(self, batches: MapBatches, epoch: int, keys: list[int], rows: NDArray[Any]) -> None:
        super().__init__(batches, epoch, keys)
        self.rows = rows

    def read_sample(self, place: int, key: int) -> Any:
        return self.batches.data.fill(key, reused_rng(self.batches.seed, self.epoch, key), self.rows[place])

    def read_all(self) -> bool:
        data = self.batches.data
        if not self.batches.has_fill_all:
            return False
        try:
            self.samples = data.fill_all(self.keys, self.batches.seed, self.epoch, self.rows[: len(self.keys)])
        except Exception:  # whatever it is, reading one by one names the sample, or gets over it
            return False
        return True

    def compact(self, kept: list[int]) -> None:
        super().compact(kept)
        for row, place in enumerate(kept):
            if row != place:
                self.rows[row] = self.rows[place]

    def collate(self) -> Any:
        return self.samples
