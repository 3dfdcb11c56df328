"""Ready batches of the user's own making: a DataLoader, a list, any iterable that can be iterated again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import Any

from torch.utils.data import BatchSampler, DataLoader, default_collate

from accel.data.batches.base import Batches, length_of, skip_to
from accel.data.batches.counted import CountedBatch, Trust
from accel.data.batches.rank_share import SINGLE_RANK, RankShare
from accel.data.batches.sample_lists import read_as
from accel.device.rng import seeded
from accel.system.call_stack import warn_user

__all__ = ["ReadyBatches"]


class ReadyBatches(Batches):
    """Ready batches, passed through untouched. `set_epoch(epoch)` is called on the data and on its sampler, where they have it.

    Each of `n` ranks goes through all of them and keeps every n-th: they must come in the same order for all. The numbers that
    the first batch of an epoch draws from the global generators (a DataLoader's order) are equal on all ranks.

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
        self.checked = isinstance(data, list | tuple | DataLoader)
        self.trust: Trust = "batch" if getattr(data, "collate_fn", None) is default_collate else "neither"

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Any]:
        for owner in (self.data, getattr(self.data, "sampler", None)):
            set_epoch = getattr(owner, "set_epoch", None)
            if set_epoch is not None:
                set_epoch(epoch)
        if self.share.ranks == 1:
            return self._checked(skip_to(iter(self.data), start))
        with seeded(self.seed, epoch):
            iterator = iter(self.data)
            head = list(islice(iterator, 1))
        start *= self.share.ranks
        return self._rank_batches(skip_to(chain(head, iterator), start), start)

    def _rank_batches(self, batches: Iterator[Any], start: int) -> Iterator[CountedBatch]:
        """Yield this rank's batch of each group of `ranks` batches, with the samples it counts for."""
        number = start
        while group := list(islice(batches, self.share.ranks)):
            counts = [self.counter.count_batch(batch, self._size(number + place), self.trust) for place, batch in enumerate(group)]
            number += len(group)
            batch, borrowed = self.share.pick(group)
            own = counts[0 if borrowed else self.share.rank]
            doubt = next((count.doubt for count in counts if count.doubt), "")
            unequal = bool(doubt) and (None in (outlines := {count.outline for count in counts}) or len(outlines) > 1)
            total = sum(count.samples for count in counts)
            yield CountedBatch(batch, 0 if borrowed else own.samples, total, doubt, own.outline, unequal)

    def counted(self, batches: Iterator[Any], start: int) -> Iterator[CountedBatch]:
        if self.share.ranks > 1:
            yield from batches
            return
        for number, batch in enumerate(batches, start):
            item = [self.counter.counted_batch(batch, self._size(number), self.trust)]
            del batch
            yield item.pop()

    def plan_notes(self) -> dict[str, str]:
        kind = type(self.data).__name__
        return {"elements": f"of the {kind}, each a ready batch"} if isinstance(self.data, list | tuple) else {}

    def _checked(self, batches: Iterator[Any]) -> Iterator[Any]:
        """Yield the batches. Warn, once, of data that is no list and whose first element is no batch but a sample."""
        for batch in batches:
            if not self.checked and read_as(batch) == "sample":
                warn_user(
                    f"data is a {type(self.data).__name__} that gives samples, and each is taken for a ready batch; make it an "
                    "IterableDataset, or pass a DataLoader"
                )
            self.checked = True
            item = [batch]
            del batch
            yield item.pop()

    def _size(self, number: int) -> int | None:
        """Return the number of samples that a DataLoader makes batch `number` of; None if only its sampler knows."""
        data, size = self.data, getattr(self.data, "batch_size", None)
        if not isinstance(data, DataLoader) or size is None or type(data.batch_sampler) is not BatchSampler:
            return None
        samples = length_of(data.sampler)
        left = 0 if samples is None else samples - number * size
        return min(size, left) if left > 0 else None
