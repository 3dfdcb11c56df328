"""Ready batches of the user's own making: a DataLoader, a list, any iterable that can be iterated again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import Any

from torch.utils.data import BatchSampler, DataLoader, IterableDataset, default_collate

from accel.data.batches.base import Batches, length_of, skip_to
from accel.data.batches.counted import CountedBatch, Trust
from accel.data.batches.sample_lists import read_as
from accel.data.content_digest import content_digest
from accel.data.randomness.find_generators import find_generators
from accel.data.randomness.tripwire import ReadInTurn, watched
from accel.data.ranks.own_split import own_split, samplers_of
from accel.data.ranks.rank_share import SINGLE_RANK, RankShare
from accel.data.ranks.shared_order import SharedOrder
from accel.device.generators import GeneratorHandle
from accel.device.rng import seeded
from accel.system.call_stack import warn_user

__all__ = ["ReadyBatches"]


class ReadyBatches(Batches):
    """Ready batches, passed through untouched. `set_epoch(epoch)` is called on the data and its samplers, where they have it.

    Each of `n` ranks goes through all of them and keeps every n-th: they must come in the same order for all. The numbers that
    the order of an epoch is drawn with, from the global generators, are equal on all ranks. Of a loader that divides the data
    itself, by a DistributedSampler, each rank takes every batch.

    A DataLoader's workers begin anew in each epoch, whatever its persistent_workers says. torch seeds them only when they begin,
    and workers of a resumed run could not go on with the numbers of those before.

    Args:
        data: the batches.
        seed: of the run.
        share: the part of this process.

    Raises:
        ConfigError: if the data divides itself, and not among these ranks.
    """

    uses_batch_size = False

    def __init__(self, data: Iterable[Any], seed: int = 0, share: RankShare = SINGLE_RANK) -> None:
        self.data, self.seed, self.share = data, seed, share
        self.own_split = own_split(data)
        if self.own_split is not None:
            self.own_split.check(share)
        self.is_split = self.own_split is not None and share.ranks > 1
        count = length_of(data)
        self.count = count if count is None or self.is_split else share.batches(count, 1)
        dataset = getattr(data, "dataset", None)
        self.samples = length_of(dataset)
        # a loader of a map-style data set draws the order of an epoch as that begins; what its samples draw is each rank's own
        self.is_ordered_first = dataset is not None and not isinstance(dataset, IterableDataset)
        self.is_counted = type(data) in (list, tuple)
        self.can_be_read_aside = self.is_counted or (isinstance(data, DataLoader) and self.is_ordered_first)
        self.checked = isinstance(data, list | tuple | DataLoader)
        self.trust: Trust = "batch" if getattr(data, "collate_fn", None) is default_collate else "neither"

    def set_epoch(self, epoch: int) -> None:
        owners = (self.data, getattr(self.data, "sampler", None), *samplers_of(self.data))
        for owner in {id(owner): owner for owner in owners}.values():
            set_epoch = getattr(owner, "set_epoch", None)
            if set_epoch is not None:
                set_epoch(epoch)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Any]:
        self.set_epoch(epoch)
        if self.persistent_workers:
            self.data._iterator = None  # type: ignore[attr-defined]  # its workers end, and others begin
        if self.share.ranks == 1:
            return watched(self._checked(skip_to(iter(self.data), start)))
        if self.is_split:
            return watched(self._own_batches(skip_to(self._begun(epoch), start)))
        first, ranks = start * self.share.ranks, self.share.ranks
        if self.is_ordered_first:
            batches = skip_to(self._begun(epoch), first)
            return watched(self._rank_batches(iter(lambda: list(islice(batches, ranks)), []), first))
        reading = SharedOrder(self.data, ranks, self.seed, epoch)
        self.first_digest = self.first_digest or content_digest(reading.first)
        return self._rank_batches(skip_to(iter(reading), start), first)

    def _begun(self, epoch: int) -> Iterator[Any]:
        """Return the batches of an epoch, whose first was read with the same random numbers on every rank."""
        with seeded(self.seed, epoch):
            iterator = iter(self.data)
            head = list(islice(iterator, 1))
        self.first_digest = self.first_digest or content_digest(head)
        return chain(head, iterator)

    @property
    def persistent_workers(self) -> bool:
        """Whether the data is a DataLoader whose workers outlast an epoch, and with them the random numbers that they draw."""
        return isinstance(self.data, DataLoader) and self.data.num_workers > 0 and self.data.persistent_workers

    def generators(self) -> list[GeneratorHandle]:
        return find_generators(self.data)

    def digest_again(self) -> str:
        if self.is_ordered_first:
            with seeded(self.seed, 0):
                return content_digest(list(islice(iter(self.data), 1)))
        return content_digest(SharedOrder(self.data, 1, self.seed, 0).first)

    def describe(self) -> str:
        if not self.is_split or self.own_split is None:
            return super().describe()
        own = self.own_split
        padded = own.samples is not None and self.samples is not None and own.samples * own.ranks != self.samples
        amount = f", as {own.samples * own.ranks:,}" if padded and own.samples is not None else ""
        return f"{super().describe()}, divided by its own {own.owner}{amount}"

    def _own_batches(self, batches: Iterator[Any]) -> Iterator[CountedBatch]:
        """Yield every batch, with the samples that it and those of the other ranks count for: each is given as many."""
        for batch in batches:
            count = self.counter.count_batch(batch, None, self.trust)
            total = count.samples * self.share.ranks
            yield CountedBatch(batch, count.samples, total, count.doubt, count.outline, bool(count.doubt))

    def _rank_batches(self, groups: Iterator[list[Any]], start: int) -> Iterator[CountedBatch]:
        """Yield this rank's batch of each group of `ranks` batches, with the samples it counts for."""
        number = start
        try:
            for group in groups:
                sizes = [self._size(number + place) for place in range(len(group))]
                number += len(group)
                yield self._rank_batch(group, sizes)
        except ReadInTurn as signal:
            raise signal.through(lambda rest: self._rank_batches(rest, number)) from None

    def _rank_batch(self, group: list[Any], sizes: list[int | None]) -> CountedBatch:
        """Return this rank's batch of a group."""
        counts = [self.counter.count_batch(batch, size, self.trust) for batch, size in zip(group, sizes, strict=True)]
        batch, borrowed = self.share.pick(group)
        own = counts[0 if borrowed else self.share.rank]
        doubt = next((count.doubt for count in counts if count.doubt), "")
        unequal = bool(doubt) and (None in (outlines := {count.outline for count in counts}) or len(outlines) > 1)
        total = sum(count.samples for count in counts)
        return CountedBatch(batch, 0 if borrowed else own.samples, total, doubt, own.outline, unequal)

    def counted(self, batches: Iterator[Any], start: int) -> Iterator[CountedBatch]:
        if self.share.ranks > 1:
            yield from batches
            return
        for number, batch in enumerate(batches, start):
            item = [self.counter.counted_batch(batch, self._size(number), self.trust)]
            del batch
            yield item.pop()

    def plan_notes(self) -> dict[str, str]:
        if self.persistent_workers:
            return {"persistent workers": "begin anew in each epoch, so that a resumed run goes on"}
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
