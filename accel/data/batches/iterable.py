"""Batches of an iterable data set, in its own order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from time import perf_counter
from typing import Any

from torch.utils.data import IterableDataset, default_collate

from accel.data.batches.base import Batches, length_of, skip_to
from accel.data.batches.collation import Collate, check_sample, collate_samples
from accel.data.batches.counted import Trust
from accel.data.batches.rank_share import SINGLE_RANK, RankShare
from accel.data.batches.read_rate import ReadRateMeter

__all__ = ["IterableBatches"]


class IterableBatches(Batches):
    """Batches of an iterable data set, in its own order. `set_epoch(epoch)` is called on one that has it.

    Each of several ranks reads the whole stream and keeps its part. So the stream must be the same for all, and not split itself.

    Args:
        data: the data set; its own `collate(samples)` makes batches, if it has one.
        batch_size: samples per batch and rank.
        share: the part of this process.
        collate: the user's function that makes a batch of a list of samples; None for the data set's own, or torch's.
    """

    meter: ReadRateMeter

    def __init__(
        self,
        data: IterableDataset[Any],
        batch_size: int,
        share: RankShare = SINGLE_RANK,
        collate: Collate | None = None,
    ) -> None:
        self.data, self.share, self.batch_size = data, share, batch_size
        self.step = batch_size * share.ranks
        self.collate: Collate = getattr(data, "collate", default_collate) if collate is None else collate
        self.meter = ReadRateMeter()
        self.samples = length_of(data)
        self.count = None if self.samples is None else share.batches(self.samples, batch_size)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Any]:
        if hasattr(self.data, "set_epoch"):
            self.data.set_epoch(epoch)
        return self._batches(skip_to(iter(self.data), start * self.step), start * self.step)

    def _batches(self, samples: Iterator[Any], start: int) -> Iterator[Any]:
        """Yield batches of this rank's samples."""
        started = perf_counter()
        while batch := list(islice(samples, self.step)):
            size, local, keys = len(batch), self.share.local(batch), self.share.local(range(start, start + len(batch)))
            if size < self.step and self.share.drop_last:
                return
            start += size
            trust: Trust = "size" if self.collate is default_collate else "neither"
            counted = [self.share.count(self._collated(local, keys), size, self.counter, trust)]
            self.meter.add(len(local), perf_counter() - started)
            yield counted.pop()
            started = perf_counter()

    def _collated(self, samples: list[Any], keys: Sequence[int]) -> Any:
        """Return the batch of some samples. `keys` are their numbers in the stream, from 0."""
        if self.collate is default_collate:
            for sample, key in zip(samples, keys, strict=True):
                check_sample(sample, key, "streamed")
        return collate_samples(self.collate, samples, keys, "streamed")
