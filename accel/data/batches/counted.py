"""Batch with the number of samples it counts for, on its way from the loader to the window."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from typing import Any, Literal, NamedTuple

from torch import Tensor

from accel.data.batches.sample_count import SampleCount, sample_count
from accel.errors import ConfigError, describe

__all__ = ["BY_STRUCTURE", "CountedBatch", "SampleCounter", "Trust", "count_samples", "counted"]

Trust = Literal["size", "batch", "neither"]


class CountedBatch(NamedTuple):
    """A rank's batch, and the number of samples it counts for."""

    batch: Any
    samples: int
    """The number of samples that it weighs: 0 for a batch that only lets a rank take part."""
    global_samples: int
    """The number of samples that the batches of all ranks have together."""
    doubt: str = ""
    """Why the number is a guess, in words; empty if it is known."""
    outline: Hashable = None
    """Batches of one outline have as many samples each, if they are guessed; None if that cannot be told."""
    unequal: bool = False
    """Whether batches of several ranks, which are guessed, may have other numbers of samples each."""


class SampleCounter:
    """Counter of the samples in batches.

    Args:
        count: the user's own `count_samples(batch)`; None, or a result of None, leaves it to the structure of the batch.
    """

    def __init__(self, count: Callable[[Any], Any] | None = None) -> None:
        self.count = count

    def count_batch(self, batch: Any, size: int | None = None, trust: Trust = "neither") -> SampleCount:
        """Return the number of samples in a batch.

        Args:
            batch: the batch.
            size: number of samples that it was made of; None if that is not known.
            trust: what to go by where both are known: the `size`, if all of them are in it; the `batch`, if torch collated it;
                or neither, if a function of the user's made it.

        Raises:
            ConfigError: if the user's function returns no number.
        """
        number = None if self.count is None else self.count(batch)
        if number is not None:
            return SampleCount(_whole_number(number))
        if size is not None and trust == "size":
            return SampleCount(size)
        count = sample_count(batch)
        if size is None:
            return count
        if trust == "batch" and not count.doubt:
            return count
        if count.doubt or (count.samples and count.samples % size == 0):  # several views of each sample
            return SampleCount(size)
        smaller = min(count.samples, size)
        return SampleCount(smaller, f"a batch made of {size} samples has tensors of {count.samples}", (count.samples, size))

    def counted(self, batches: Iterator[Any]) -> Iterator[CountedBatch]:
        """Yield batches of whose making nothing is known as CountedBatch. None is held longer than its turn."""
        for batch in batches:
            item = [batch if isinstance(batch, CountedBatch) else self.counted_batch(batch)]
            del batch
            yield item.pop()

    def counted_batch(self, batch: Any, size: int | None = None, trust: Trust = "neither") -> CountedBatch:
        """Return the batch of a process that trains alone as CountedBatch; the arguments are those of `count_batch`."""
        count = self.count_batch(batch, size, trust)
        return CountedBatch(batch, count.samples, count.samples, count.doubt, count.outline)


BY_STRUCTURE = SampleCounter()
"""The counter that goes by the structure of a batch."""


def counted(batch: Any) -> CountedBatch:
    """Return a batch as a CountedBatch; one that is none counts for all of its samples."""
    return batch if isinstance(batch, CountedBatch) else BY_STRUCTURE.counted_batch(batch)


def count_samples(batch: Any) -> int:
    """Return the number of samples in a batch by its structure (`accel.data.batches.sample_count`)."""
    return sample_count(batch).samples


def _whole_number(number: Any) -> int:
    """Return what the user's function counted as an int. Raise ConfigError if it is no whole number from 0 on."""
    if isinstance(number, Tensor) and not number.dim():
        number = number.item()
    if isinstance(number, bool | Tensor) or not hasattr(number, "__index__") or int(number) < 0:
        shown = number if isinstance(number, int | float) else describe(number)
        raise ConfigError(f"count_samples(batch) returned {shown}; return a whole number from 0 on, or None to let accel count")
    return int(number)
