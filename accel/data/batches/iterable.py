"""Batches of an iterable data set, in its own order."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from time import perf_counter
from typing import Any

from torch.utils.data import IterableDataset, default_collate

from accel.data.batches.base import Batches, length_of, skip_to
from accel.data.batches.own_split import own_split
from accel.data.batches.rank_share import SINGLE_RANK, RankShare
from accel.data.batches.read_rate import ReadRateMeter
from accel.data.batches.shared_order import SharedOrder
from accel.data.content_digest import content_digest

__all__ = ["IterableBatches"]


class IterableBatches(Batches):
    """Batches of an iterable data set, in its own order. `set_epoch(epoch)` is called on one that has it.

    Each of several ranks reads the whole stream and keeps its part. So the stream must be the same for all, and not split itself.
    What it draws from the global generators is the same on all of them, a function of seed and epoch.

    Args:
        data: the data set; its own `collate(samples)` makes batches, if it has one.
        batch_size: samples per batch and rank.
        share: the part of this process.
        seed: of the run.

    Raises:
        ConfigError: if the data is known to split itself.
    """

    meter: ReadRateMeter

    def __init__(self, data: IterableDataset[Any], batch_size: int, share: RankShare = SINGLE_RANK, seed: int = 0) -> None:
        self.data, self.share, self.seed = data, share, seed
        self.own_split = own_split(data)
        if self.own_split is not None:
            self.own_split.check(share)
        self.step = batch_size * share.ranks
        self.collate = getattr(data, "collate", default_collate)
        self.meter = ReadRateMeter()
        self.samples = length_of(data)
        self.count = None if self.samples is None else share.batches(self.samples, batch_size)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Any]:
        if hasattr(self.data, "set_epoch"):
            self.data.set_epoch(epoch)
        if self.share.ranks == 1:
            samples = skip_to(iter(self.data), start * self.step)
            return self._batches(iter(lambda: list(islice(samples, self.step)), []))
        reading = SharedOrder(lambda: iter(self.data), self.step, self.seed, epoch)
        self.first_digest = self.first_digest or content_digest(reading.first)
        return self._batches(skip_to(iter(reading), start))

    def digest_again(self) -> str:
        return content_digest(SharedOrder(lambda: iter(self.data), 1, self.seed, 0).first)

    def _batches(self, groups: Iterator[list[Any]]) -> Iterator[Any]:
        """Yield this rank's batch of each group of samples."""
        started = perf_counter()
        for batch in groups:
            size, local = len(batch), self.share.local(batch)
            counted = [self.share.count(self.collate(local), size)]
            self.meter.add(len(local), perf_counter() - started)
            yield counted.pop()
            started = perf_counter()
