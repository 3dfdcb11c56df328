"""Epochs of one length on every rank: a rank that has read all of its data while another goes on would leave that one waiting."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import TypeVar

from accel.data.batches.base import Batches
from accel.errors import ConfigError
from accel.parts.parallel import Parallel

__all__ = ["Item", "equal_epochs"]

Item = TypeVar("Item")


def equal_epochs(
    parallel: Parallel, batches: Batches, items: Iterator[Item], samples: Callable[[Item], int], split: str
) -> Iterator[Item]:
    """Yield the items of an epoch as long as every rank has one, with as many samples over all ranks.

    The ranks compare before each item, where only the data itself knows how long it is. Data of which every sample is counted
    (`Batches.is_counted`) is compared at the start instead. Every rank must call it.

    Args:
        parallel: the ranks.
        batches: the data.
        items: windows or batches of an epoch.
        samples: returns the number of samples of an item, over all ranks.
        split: name of the data in the error.

    Raises:
        ConfigError: on every rank, where one of them has no item, or another number of samples.
    """
    if not parallel.one_run or parallel.world_size == 1 or batches.is_counted:
        yield from items
        return
    seen = 0
    while True:
        item = list(islice(items, 1))
        count = samples(item[0]) if item and batches.own_split is None else 0
        if not parallel.same([len(item), count]):
            raise ConfigError(_sentence(parallel, split, seen, count if item else None))
        if not item:
            return
        seen += count
        yield item.pop()


def _sentence(parallel: Parallel, split: str, seen: int, count: int | None) -> str:
    """Return how much the ranks have read, in words. Every rank must call it."""
    counts = parallel.gather(count)
    words = ", ".join(f"rank {rank} {_words(count)}" for rank, count in enumerate(counts))
    when = f"after {seen:,} samples " if seen else ""
    fix = "give every rank all of the data, in one order"
    sentence = f"{parallel.name}: the ranks do not read the same {split} data: {when}{words}"
    return f"{sentence}; {fix}"


def _words(count: int | None) -> str:
    return "is at the end" if count is None else f"reads {count:,} more" if count else "goes on"
