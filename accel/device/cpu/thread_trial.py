"""Number of torch's threads that makes the updates of a small model fastest, by trying."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter

import torch

__all__ = [
    "NEAR_BEST", "ROUNDS", "TINY", "TRIAL_SECONDS", "describe_times", "fewest_near_best", "mean_seconds", "thread_counts",
    "time_threads",
]  # fmt: skip

TINY = 0.05
"""Seconds of an update, above which as many threads as there are cores are best, and none are tried."""
TRIAL_SECONDS, ROUNDS = 0.1, 2
"""Seconds for which each number of threads is measured in each round."""
NEAR_BEST = 1.05
"""Multiple of the least time that is good enough: more threads are not worth the rest."""


def time_threads(update: Callable[[], object]) -> dict[int, float]:
    """Return the seconds of an update by the number of torch's threads: 1, 2, 4 up to what torch has now.

    Numbers take turns, and the least of their times counts, so that another program's moment hits none alone. Afterwards torch has
    as many threads as before.

    Args:
        update: makes an update; the first calls warm up.

    Returns:
        The times; empty if there is nothing to choose, or an update takes longer than `TINY`.
    """
    counts, most = thread_counts(), torch.get_num_threads()
    update()
    if len(counts) == 1 or mean_seconds(update, 0.0) > TINY:
        return {}
    times = dict.fromkeys(counts, float("inf"))
    try:
        for _ in range(ROUNDS):
            for count in counts:
                torch.set_num_threads(count)
                update()
                times[count] = min(times[count], mean_seconds(update, TRIAL_SECONDS))
    finally:
        torch.set_num_threads(most)
    return times


def fewest_near_best(times: dict[int, float]) -> int:
    """Return the fewest threads that are about as fast as any number of them.

    >>> fewest_near_best({1: 0.00102, 2: 0.001, 4: 0.002})
    1
    """
    return min(count for count, seconds in times.items() if seconds <= NEAR_BEST * min(times.values()))


def describe_times(times: dict[int, float]) -> str:
    """Return the best number of threads, and all times, in words for the plan."""
    measured = ", ".join(f"{count} took {1000 * seconds:.2g} ms" for count, seconds in times.items())
    return f"{fewest_near_best(times)}, measured: {measured} an update"


def thread_counts() -> list[int]:
    """Return the numbers of torch's threads that are tried: 1, 2, 4 up to what torch has now."""
    most = torch.get_num_threads()
    return sorted({*(2**power for power in range(most.bit_length()) if 2**power <= most), most})


def mean_seconds(update: Callable[[], object], least: float, number: int = 1) -> float:
    """Return the mean seconds of updates that are made for `least` seconds, `number` at least."""
    started, made = perf_counter(), 0
    while made < number or perf_counter() - started < least:
        update()
        made += 1
    return (perf_counter() - started) / made
