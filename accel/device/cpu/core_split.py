"""Cores shared by torch's threads and the readers of the data: both numbers chosen together, by updates on trial."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from math import inf
from typing import NamedTuple, TypeVar

import torch

from accel.device.cpu.thread_trial import NEAR_BEST, ROUNDS, mean_seconds, thread_counts

__all__ = ["LONG", "RUN_SHARE", "SETTLE", "Split", "describe_splits", "is_worth_a_trial", "leanest_near_best", "time_splits"]

SETTLE = 8
"""Updates after a change before the time is taken, and at least as many that are timed: by then batches read ahead are used up."""
RUN_SHARE = 20
"""How many times as many updates as the trial the run must have."""
LONG = 1.0
"""Seconds of an update above which nothing is tried: the trial would take minutes."""

Window = TypeVar("Window")


class Split(NamedTuple):
    """How many compute, and how many read."""

    threads: int
    readers: int


def is_worth_a_trial(updates: int | None, readers: Sequence[int]) -> bool:
    """Return whether there are numbers of readers to choose from, and the trial is a small part of the run.

    Args:
        updates: of the run; None if nobody knows.
        readers: numbers of readers to choose from.
    """
    trial = 2 * SETTLE * ROUNDS * len(readers) * len(thread_counts())
    return len(readers) > 1 and updates is not None and updates >= RUN_SHARE * trial


def time_splits(
    readers: Sequence[int],
    set_readers: Callable[[int], None],
    trial: Callable[[], AbstractContextManager[Iterator[Window]]],
    update: Callable[[Window], object],
) -> dict[Split, float]:
    """Return the seconds of an update, with the wait for its data, by how many threads compute and how many read.

    All pairs take turns, and the least of their times counts. Afterwards torch has as many threads as before, and there are as
    many readers as `leanest_near_best` says; the last number of them if nothing was measured.

    Args:
        readers: numbers of readers.
        set_readers: reads with another number in the next trial.
        trial: context that gives windows, and undoes their updates at the end.
        update: makes the update of a window.

    Returns:
        The times; empty if an update takes longer than `LONG`.
    """
    times: dict[Split, float] = {}
    counts, most, chosen = thread_counts(), torch.get_num_threads(), readers[-1]
    try:
        for _ in range(ROUNDS):
            for number in readers:
                set_readers(number)
                with trial() as windows:

                    def step() -> None:
                        update(next(windows))

                    for split in (Split(count, number) for count in counts):
                        torch.set_num_threads(split.threads)
                        if mean_seconds(step, 0.0, SETTLE) > LONG:
                            return {}
                        times[split] = min(times.get(split, inf), mean_seconds(step, 0.0, SETTLE))
        chosen = leanest_near_best(times).readers
    finally:
        torch.set_num_threads(most)
        set_readers(chosen)
    return times


def leanest_near_best(times: dict[Split, float]) -> Split:
    """Return the split of the fewest threads and readers together that is about as fast as any; of several, the fastest.

    >>> leanest_near_best({Split(1, 1): 2.0, Split(1, 2): 1.02, Split(2, 1): 1.01, Split(2, 2): 1.0})
    Split(threads=2, readers=1)
    """
    enough = NEAR_BEST * min(times.values())
    return min((split for split, seconds in times.items() if seconds <= enough), key=lambda split: (sum(split), times[split]))


def describe_splits(times: dict[Split, float]) -> str:
    """Return the chosen split, and all times, in words for the plan."""
    best = leanest_near_best(times)
    measured = ", ".join(
        f"{split.threads} beside {split.readers} took {1000 * seconds:.2g} ms" for split, seconds in sorted(times.items())
    )
    return f"{best.threads} beside {best.readers} reader{'s' * (best.readers > 1)}, measured: {measured} an update"
