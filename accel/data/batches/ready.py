"""Ready batches of the user's own making: a DataLoader, a list, any iterable that can be iterated again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import Any

from torch.utils.data import DataLoader

from accel.data.batches.base import Batches, length_of, skip_to
from accel.data.batches.counted import CountedBatch, count_samples
from accel.data.batches.find_generators import find_generators
from accel.data.batches.rank_share import SINGLE_RANK, RankShare
from accel.data.batches.tripwire import watched
from accel.device.generators import GeneratorHandle
from accel.device.rng import seeded

__all__ = ["ReadyBatches"]


class ReadyBatches(Batches):
    """Ready batches, passed through untouched. `set_epoch(epoch)` is called on the data and on its sampler, where they have it.

    Each of `n` ranks goes through all of them and keeps every n-th: they must come in the same order for all. The numbers that
    the first batch of an epoch draws from the global generators (a DataLoader's order) are equal on all ranks.

    A DataLoader's workers begin anew in each epoch, whatever its persistent_workers says. torch seeds them only when they begin,
    and workers of a resumed run could not go on with the numbers of those before.

    Args:
        data: the batches.
        seed: of the run.
        share: the part of this process.
    """

    uses_batch_size = False

    def __init__(self, data: Iterable[Any], seed: int = 0, share: RankShare = SINGLE_RANK) -> None:
        self.data, self.seed, self.share = data, seed, share
        count = length_of(data)
        self.count = None if count is None else share.batches(count, 1)
        self.samples = length_of(getattr(data, "dataset", None))

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Any]:
        for owner in (self.data, getattr(self.data, "sampler", None)):
            set_epoch = getattr(owner, "set_epoch", None)
            if set_epoch is not None:
                set_epoch(epoch)
        if self.persistent_workers:
            self.data._iterator = None  # type: ignore[attr-defined]  # its workers end, and others begin
        if self.share.ranks == 1:
            return watched(skip_to(iter(self.data), start))
        with seeded(self.seed, epoch):
            iterator = iter(self.data)
            head = list(islice(iterator, 1))
        return watched(self._rank_batches(skip_to(chain(head, iterator), start * self.share.ranks)))

    @property
    def persistent_workers(self) -> bool:
        """Whether the data is a DataLoader whose workers outlast an epoch, and with them the random numbers that they draw."""
        return isinstance(self.data, DataLoader) and self.data.num_workers > 0 and self.data.persistent_workers

    def generators(self) -> list[GeneratorHandle]:
        return find_generators(self.data)

    def plan_notes(self) -> dict[str, str]:
        return {"persistent workers": "begin anew in each epoch, so that a resumed run goes on"} if self.persistent_workers else {}

    def _rank_batches(self, batches: Iterator[Any]) -> Iterator[Any]:
        """Yield this rank's batch of each group of `ranks` batches, with the samples it counts for."""
        while group := list(islice(batches, self.share.ranks)):
            counts = [count_samples(batch) for batch in group]
            batch, borrowed = self.share.pick(group)
            yield CountedBatch(batch, 0 if borrowed else counts[self.share.rank], sum(counts))
