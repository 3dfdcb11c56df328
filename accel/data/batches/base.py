"""Base class of the batches of one data set, epoch after epoch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from torch import Tensor

from accel.data.batches.bad_samples import BadSampleLog
from accel.data.batches.collation import Collate
from accel.data.batches.counted import BY_STRUCTURE, CountedBatch, SampleCounter
from accel.data.batches.read_rate import ReadRateMeter
from accel.data.ranks.own_split import OwnSplit
from accel.data.ranks.rank_share import SINGLE_RANK, RankShare
from accel.device.generators import GeneratorHandle

__all__ = ["PLAIN_BATCHES", "BatchOptions", "Batches", "Order", "length_of", "skip_to"]

Order = Callable[[int, int, int], Tensor]
"""Function from the number of samples, the seed and the epoch to the order of an epoch, (samples,) int64."""


@dataclass(frozen=True)
class BatchOptions:
    """Settings of the user on how batches are made of samples.

    Args:
        collate: makes a batch of a list of samples; None leaves it to the data set's own `collate`, or to torch's.
        drop_last: leave out the last micro-batch of an epoch of training, if it is short.
        sized: whether the batch size was said, and not left to the default.
    """

    collate: Collate | None = None
    drop_last: bool = False
    sized: bool = False


PLAIN_BATCHES = BatchOptions()
"""The options of a user who says nothing."""


class Batches(ABC):
    """Batches of one data set, epoch after epoch."""

    count: int | None = None
    """Batches per epoch and rank; None where the data does not tell."""
    samples: int | None = None
    """Samples per epoch, of all ranks; None where the data does not tell."""
    uses_batch_size: bool = True
    """Whether the run chooses the batch size, and not the data."""
    batch_size: int = 0
    """Samples per batch and rank; 0 where the data decides."""
    share: RankShare = SINGLE_RANK
    """The part of the data that this process reads."""
    meter: ReadRateMeter | None = None
    """Meter of the reading rate; None where it is not measured."""
    bad_sample_log: BadSampleLog | None = None
    """Log of the samples that could not be read; None where the data is not read sample by sample."""
    is_counted: bool = False
    """Whether `count` and `samples` are known to be what an epoch gives, and not only what the data says."""
    orderable: bool = False
    """Whether the run chooses the order, and not the data."""
    can_be_read_aside: bool = False
    """Whether an epoch can be read while another one is under way, which does not move."""

    own_split: OwnSplit | None = None
    """The ranks among which the data divides itself; None where it does not."""
    first_digest: str = ""
    """Digest of what came first, of data in its own order that several ranks read; empty before."""
    is_compared: bool = False
    """Whether the ranks have compared it."""
    counter: SampleCounter = BY_STRUCTURE
    """Counter of the samples in a batch."""

    @abstractmethod
    def epoch(self, epoch: int, start: int = 0) -> Iterator[Any]:
        """Yield the batches of `epoch`, from number `start` on."""

    def counted(self, batches: Iterator[Any], start: int) -> Iterator[CountedBatch]:
        """Yield the batches of an epoch, each as `CountedBatch`. The first is number `start`."""
        return self.counter.counted(batches)

    def set_epoch(self, epoch: int) -> None:  # noqa: B027 - most data need not know
        """Tell the data that `epoch` is under way, where it wants to know."""

    def digest_again(self) -> str:
        """Return the digest of what comes first if the data is read anew; empty if its order is chosen here."""
        return ""

    def generators(self) -> list[GeneratorHandle]:
        """Return the random generators that the data holds and that nobody seeds: a checkpoint keeps them."""
        return []

    def describe(self) -> str:
        """Return the size of the data in words."""
        if self.samples is None:
            return "unknown size" if self.count is None else f"{self.count:,} batches"
        left_out = self.share.left_out(self.samples, self.batch_size) if self.batch_size else 0
        return f"{self.samples:,} samples" + (f", of which each epoch leaves out {left_out:,} (drop_last)" if left_out else "")

    def plan_notes(self) -> dict[str, str]:
        """Return facts about the data for the plan, by name."""
        return {}


def skip_to(iterator: Iterator[Any], start: int) -> Iterator[Any]:
    """Return `iterator` from number `start` on. The items before are read here, while the random generators are set for them."""
    for _ in islice(iterator, start):
        pass
    return iterator


def length_of(data: Any) -> int | None:
    """Return `len(data)`, or None if it has none: an IterableDataset raises TypeError, some loaders NotImplementedError."""
    try:
        return len(data)
    except (TypeError, NotImplementedError):
        return None
