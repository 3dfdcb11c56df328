"""Batches of an iterable data set, in its own order."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from time import perf_counter
from typing import TYPE_CHECKING, Any

from torch.utils.data import IterableDataset, default_collate

from accel.data.batches.base import Batches, length_of, skip_to
from accel.data.batches.rank_share import SINGLE_RANK, RankShare
from accel.data.batches.read_rate import Meter

__all__ = ["IterableBatches"]

if TYPE_CHECKING:
    pass


class IterableBatches(Batches):
    """An iterable data set, batched in its own order. One that has `set_epoch` is told the epoch.

    Several ranks each read the whole stream and keep their part: it must be the same for all, and not be split by itself.
    """

    meter: Meter

    def __init__(self, data: IterableDataset[Any], batch_size: int, share: RankShare = SINGLE_RANK) -> None:
        self.data, self.share = data, share
        self.step = batch_size * share.ranks
        self.collate = getattr(data, "collate", default_collate)
        self.meter = Meter()
        self.samples = length_of(data)
        self.count = None if self.samples is None else share.batches(self.samples, batch_size)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Any]:
        if hasattr(self.data, "set_epoch"):
            self.data.set_epoch(epoch)
        return self._batches(skip_to(iter(self.data), start * self.step))

    def _batches(self, samples: Iterator[Any]) -> Iterator[Any]:
        since = perf_counter()
        while batch := list(islice(samples, self.step)):
            size, mine = len(batch), self.share.local(batch)
            made = [self.share.count(self.collate(mine), size)]
            self.meter.add(len(mine), perf_counter() - since)
            yield made.pop()
            since = perf_counter()
