"""Ready batches of the user's own making: a DataLoader, a list, any iterable that can be iterated again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from accel.data.batches.base import Batches, length_of, skip_to
from accel.data.batches.counted import CountedBatch, count_samples
from accel.data.batches.rank_share import SINGLE_RANK, RankShare
from accel.device.rng import seeded

__all__ = ["ReadyBatches"]

if TYPE_CHECKING:
    pass


class ReadyBatches(Batches):
    """Ready batches of the user's own making, passed through untouched. A sampler that has `set_epoch` is told the epoch.

    Several ranks each go through all of them, and keep every so-manieth: they must come in the same order for all. What the
    first of an epoch draws from the global random numbers (a DataLoader its order) is the same for all.
    """

    uses_batch_size = False

    def __init__(self, data: Iterable[Any], seed: int = 0, share: RankShare = SINGLE_RANK) -> None:
        self.data, self.seed, self.share = data, seed, share
        count = length_of(data)
        self.count = None if count is None else share.batches(count, 1)
        self.samples = length_of(getattr(data, "dataset", None))

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Any]:
        for teller in (self.data, getattr(self.data, "sampler", None)):
            tell = getattr(teller, "set_epoch", None)
            if tell is not None:
                tell(epoch)
        if self.share.ranks == 1:
            return skip_to(iter(self.data), start)
        with seeded(self.seed, epoch):
            iterator = iter(self.data)
            head = list(islice(iterator, 1))
        return self._turns(skip_to(chain(head, iterator), start * self.share.ranks))

    def _turns(self, batches: Iterator[Any]) -> Iterator[Any]:
        while turn := list(islice(batches, self.share.ranks)):
            counts = [count_samples(batch) for batch in turn]
            batch, borrowed = self.share.pick(turn)
            yield CountedBatch(batch, 0 if borrowed else counts[self.share.rank], sum(counts))
