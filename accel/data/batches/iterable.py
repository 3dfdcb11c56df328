"""Batches of an iterable data set, in its own order."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from time import perf_counter
from typing import Any

from torch.utils.data import IterableDataset, default_collate

from accel.data.batches.base import Batches, length_of, skip_to
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
    """

    meter: ReadRateMeter

    def __init__(self, data: IterableDataset[Any], batch_size: int, share: RankShare = SINGLE_RANK) -> None:
        self.data, self.share = data, share
        self.step = batch_size * share.ranks
        self.collate = getattr(data, "collate", default_collate)
        self.meter = ReadRateMeter()
        self.samples = length_of(data)
        self.count = None if self.samples is None else share.batches(self.samples, batch_size)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Any]:
        if hasattr(self.data, "set_epoch"):
            self.data.set_epoch(epoch)
        return self._batches(skip_to(iter(self.data), start * self.step))

    def _batches(self, samples: Iterator[Any]) -> Iterator[Any]:
        """Yield batches of this rank's samples."""
        started = perf_counter()
        while batch := list(islice(samples, self.step)):
            size, local = len(batch), self.share.local(batch)
            counted = [self.share.count(self.collate(local), size)]
            self.meter.add(len(local), perf_counter() - started)
            yield counted.pop()
            started = perf_counter()
