"""Batches of an iterable data set, in its own order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice
from time import perf_counter
from typing import Any

from torch.utils.data import IterableDataset, default_collate

from accel.data.batches.base import Batches, length_of, skip_to
from accel.data.batches.collation import Collate, check_row, check_sample, collate_of, collate_samples, table_of
from accel.data.batches.counted import Trust
from accel.data.batches.read_rate import ReadRateMeter
from accel.data.content_digest import content_digest
from accel.data.randomness.own_states import OwnStates
from accel.data.randomness.sample_randomness import STREAM, SampleRandomness
from accel.data.randomness.tripwire import reads_ahead
from accel.data.ranks.own_split import own_split
from accel.data.ranks.rank_share import SINGLE_RANK, RankShare
from accel.data.sampling import generator_seed

__all__ = ["EpochStream", "IterableBatches"]


class IterableBatches(Batches):
    """Batches of an iterable data set, in its own order. `set_epoch(epoch)` is called on one that has it.

    Each of several ranks reads the whole stream and keeps its part. So the stream must be the same for all, and not split itself.
    Numbers that it draws from Python's, numpy's or torch's global generators, or from some that it holds, are a function of
    (seed, epoch) and of what it drew before in the epoch; the training's own are left alone.

    Args:
        data: the data set; its own `collate(samples)`, or `collate_fn`, makes batches, if it has one.
        batch_size: samples per batch and rank.
        share: the part of this process.
        seed: of the run.
        collate: the user's function that makes a batch of a list of samples; None for the data set's own, or torch's.

    Raises:
        ConfigError: if the data is known to split itself.
    """

    meter: ReadRateMeter

    def __init__(
        self,
        data: IterableDataset[Any],
        batch_size: int,
        share: RankShare = SINGLE_RANK,
        seed: int = 0,
        collate: Collate | None = None,
    ) -> None:
        self.data, self.share, self.batch_size, self.randomness = data, share, batch_size, SampleRandomness(data, seed)
        self.own_split = own_split(data)
        if self.own_split is not None:
            self.own_split.check(share)
        self.step = batch_size * share.ranks
        self.collate: Collate = collate_of(data) if collate is None else collate
        self.is_table = collate is None and self.collate is default_collate and table_of(data) is not None
        self.meter = ReadRateMeter()
        self.samples = length_of(data)
        self.count = None if self.samples is None else share.batches(self.samples, batch_size)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Any]:
        stream = EpochStream(self, epoch, start)
        if self.share.ranks > 1:  # read at once, so that the ranks can compare it
            stream.head = [stream.read_in_turn()]
            self.first_digest = self.first_digest or content_digest(stream.first)
        return self._batches(stream)

    def digest_again(self) -> str:
        stream = EpochStream(self, 0, 0)
        stream.read_in_turn()
        return content_digest(stream.first)

    def plan_notes(self) -> dict[str, str]:
        return {"random numbers": "of the stream, by seed and epoch"}

    def _batches(self, stream: EpochStream) -> Iterator[Any]:
        """Yield batches of this rank's samples."""
        started = perf_counter()
        while batch := stream.next_batch():
            self.meter.add(batch[0][1], perf_counter() - started)
            yield batch.pop()[0]
            started = perf_counter()

    def collated(self, samples: list[Any], keys: Sequence[int]) -> Any:
        """Return the batch of some samples. `keys` are their numbers in the stream, from 0."""
        if self.collate is default_collate:
            for sample, key in zip(samples, keys, strict=True):
                check_sample(sample, key, "streamed")
                if self.is_table:
                    check_row(sample, key, "streamed")
        return collate_samples(self.collate, samples, keys, "streamed")


class EpochStream:
    """Stream of one epoch. The generators that it draws from have states of their own, which are set while it is read.

    Args:
        batches: of the data set.
        epoch: from 0.
        number: of the batch that is read next.
    """

    def __init__(self, batches: IterableBatches, epoch: int, number: int) -> None:
        self.batches, self.randomness, self.epoch, self.number = batches, batches.randomness, epoch, number
        self.head: list[list[tuple[Any, int]]] = []
        """The next batch, if it was read already."""
        self.first: Any = None
        """The first sample of the batch that was read last."""
        self.open()

    def open(self) -> None:
        """Begin the stream, and pass over the batches before."""
        new = True
        while new:
            self.states = OwnStates(self.randomness, partial(generator_seed, self.randomness.seed, self.epoch, STREAM))
            _, new = self.states.read(self._begin)

    def next_batch(self) -> list[tuple[Any, int]]:
        """Return the next batch of this rank, and the samples read for it, in a list; an empty list at the end.

        Raises:
            ReadInTurn: in a thread that reads ahead, if reading it draws random numbers.
        """
        if self.head:
            batch = self.head.pop()
        elif reads_ahead():
            batch = self.randomness.read_ahead(self._read, partial(self.batches.epoch, self.epoch, self.number))
        else:
            batch = self.read_in_turn()
        self.number += 1
        return batch

    def read_in_turn(self) -> list[tuple[Any, int]]:
        """Return the next batch, read in the training's own thread."""
        results, new = self.states.read(self._read)
        while new:  # what was read cannot be read again but from the beginning
            self.open()
            results, new = self.states.read(self._read)
        return results.pop()

    def _begin(self) -> None:
        if hasattr(self.batches.data, "set_epoch"):
            self.batches.data.set_epoch(self.epoch)
        self.samples = skip_to(iter(self.batches.data), self.number * self.batches.step)

    def _read(self) -> list[tuple[Any, int]]:
        batches, share = self.batches, self.batches.share
        samples = list(islice(self.samples, batches.step))
        if not samples or (share.drop_last and len(samples) < batches.step):
            return []
        start = self.number * batches.step
        self.first, local, keys = samples[0], share.local(samples), share.local(range(start, start + len(samples)))
        trust: Trust = "size" if batches.collate is default_collate else "neither"
        return [(share.count(batches.collated(local, keys), len(samples), batches.counter, trust), len(local))]
