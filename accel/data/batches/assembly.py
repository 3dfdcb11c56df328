"""Assembly of one batch from its samples."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, Protocol

from torch.utils.data import default_collate

from accel.data.batches.bad_samples import MISSING, UnreadableSample
from accel.data.batches.collation import check_row, check_sample, collate_samples
from accel.data.sampling import reused_rng

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from accel.data.batches.bad_samples import BadSampleHandler
    from accel.data.randomness.sample_randomness import SampleRandomness
    from accel.data.ranks.rank_share import RankShare

__all__ = ["BatchAssembly", "FillSeveral", "InPlaceAssembly", "SampleReader"]

FillSeveral = Callable[[list[int], int, int, "NDArray[Any]"], Iterable[Any]]
"""Function `fill(keys, seed, epoch, out)` that writes samples into the rows of `out`, and gives the label of each."""


class SampleReader(Protocol):
    """Reader of single samples (`accel.data.batches.mapped.MapBatches`)."""

    data: Any
    seed: int
    share: RankShare
    collate: Callable[[list[Any]], Any]
    is_table: bool
    read_rows: Callable[[list[int]], list[Any]] | None
    fill_several: FillSeveral | None
    randomness: SampleRandomness
    bad_sample_handler: BadSampleHandler

    def sample(self, epoch: int, key: int) -> Any:
        """Return sample number `key`, as it is in `epoch`."""


class BatchAssembly:
    """Assembly of one batch from samples that are read one by one, by any threads in any order, and collated.

    Args:
        batches: of the data set.
        epoch: from 0.
        keys: the numbers of its samples.
    """

    def __init__(self, batches: SampleReader, epoch: int, keys: list[int]) -> None:
        self.batches, self.epoch, self.keys = batches, epoch, keys
        self.kept_keys = keys
        """The numbers of the samples that are left, in order."""
        self.samples: list[Any] = [None] * len(keys)
        """The sample of each place; MISSING where it is left out."""
        self.bad: list[UnreadableSample] = []
        """Samples that could not be read."""
        self.alarms: list[bool] = []
        """Not empty if something has drawn random numbers while a thread read some of it."""

    def reading(self) -> AbstractContextManager[None]:
        """Return the context in which a thread that reads ahead reads some of the samples, or makes the batch."""
        return self.batches.randomness.watch(self.alarms)

    def read_sample(self, place: int, key: int) -> Any:
        """Return sample number `key`, read for `place`."""
        sample = self.batches.sample(self.epoch, key)
        self.check(sample, key)
        return sample

    def check(self, sample: Any, key: int) -> None:
        """Raise BadSample or ConfigError for a sample of which torch would make no batch that anybody wants."""
        if self.batches.collate is default_collate:
            check_sample(sample, key, self.batches.bad_sample_handler.rule.dataset)
            if self.batches.is_table:
                check_row(sample, key, self.batches.bad_sample_handler.rule.dataset)

    def fill_slot(self, place: int) -> None:
        """Read the sample of `place`, from 0, or its substitute."""
        key = self.keys[place]
        try:
            self.samples[place] = self.read_sample(place, key)
        except Exception as error:
            handler = self.batches.bad_sample_handler
            self.samples[place] = handler.handle(error, self.epoch, key, partial(self.read_sample, place), self.bad)

    def fill_slots(self, places: range) -> Iterator[int]:
        """Read the samples of `places`, or their substitutes. Yield each place just before its sample is read."""
        rows: list[Any] | None = None
        for place in places:
            yield place
            if place == places.start:
                rows = self.read_rows(places)
            if rows is None:
                self.fill_slot(place)
            else:
                self.samples[place] = rows[place - places.start]

    def read_rows(self, places: range) -> list[Any] | None:
        """Return the rows of `places`, read together; None where they are read one by one: whoever draws, or is no table."""
        read = self.batches.read_rows
        if read is None or self.batches.randomness.draws:
            return None
        keys = self.keys[places.start : places.stop]
        try:
            rows = list(read(keys))
            for row, key in zip(rows, keys, strict=True):
                self.check(row, key)
        except Exception:  # reading them one by one names the one at fault, or gets over it
            return None
        return rows

    def finish(self) -> Any:
        """Return the batch, once all samples are read; MISSING if nothing is left of it.

        Raises:
            TrainingError: if nothing is left of it and there are several ranks, or if no substitute can be read.
        """
        if not self.bad:
            return self.make_batch()
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
        return self.make_batch()

    def make_batch(self) -> Any:
        """Return the batch of all samples that are left, with random numbers of the batch's own."""
        self.batches.randomness.seed_collate(self.epoch, self.keys[0])
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

    def __init__(self, batches: SampleReader, epoch: int, keys: list[int], rows: NDArray[Any]) -> None:
        super().__init__(batches, epoch, keys)
        self.rows = rows

    def read_sample(self, place: int, key: int) -> Any:
        self.batches.randomness.seed_sample(self.epoch, key)
        return self.batches.data.fill(key, reused_rng(self.batches.seed, self.epoch, key), self.rows[place])

    def fill_slots(self, places: range) -> Iterator[int]:
        several, start, stop = self.batches.fill_several, places.start, places.stop
        methods = () if several is None or self.batches.randomness.draws else (several,)
        # called with the first place, no sooner
        labels = chain.from_iterable(
            fill(self.keys[start:stop], self.batches.seed, self.epoch, self.rows[start:stop]) for fill in methods
        )
        for place in places:
            yield place
            try:
                self.samples[place] = next(labels)
            except Exception:  # whatever it is, and at the end of the labels too, reading it by itself names it, or gets over it
                self.fill_slot(place)

    def compact(self, kept: list[int]) -> None:
        super().compact(kept)
        for row, place in enumerate(kept):
            if row != place:
                self.rows[row] = self.rows[place]

    def collate(self) -> Any:
        return self.samples
