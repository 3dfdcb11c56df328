"""How many readers read fastest, tried out for a second on the data itself."""

from __future__ import annotations

import multiprocessing as mp
import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Thread
from time import perf_counter

import numpy as np
import torch
from numpy.typing import NDArray

from accel.data.batches.mapped import MapBatches
from accel.data.batches.rng_guard import host_rng_state
from accel.data.loaders.fork_map import can_fork, shared_zeros
from accel.data.loaders.worker_process import forget_signals
from accel.system.machine import cores

__all__ = ["ENOUGH", "FEW", "MATTERS", "TRIED", "Rates", "best", "describe", "processes", "shares", "threads", "tried"]

MATTERS = 30.0
"""Seconds of reading in the whole run, of this rank and on one core, below which it does not matter how many read."""
TRIED = 0.4
"""Seconds for each number."""
FEW = 16
"""Samples that tell how long one takes."""
ENOUGH = 0.95
"""Of the best rate: more readers for less than that are not worth it."""

Rates = dict[int, float]
"""Samples a second by the number of readers."""


def tried(batches: MapBatches, epochs: int, by: Callable[[MapBatches, int, int], float]) -> Rates:
    """Rates of half as many readers as there are cores, as many and twice as many; empty where it does not matter.

    It leaves no trace: nothing is kept of what is read, and all random generators stay where they are. Data that draws from the
    global ones is not tried, nor is data that raises, which is said when its turn comes.

    Args:
        batches: the training data.
        epochs: of the run.
        by: `threads` or `processes`.
    """
    with _undrawn():
        before, since, few = host_rng_state(), perf_counter(), min(FEW, batches.samples)
        try:
            for key in range(few):
                _read(batches, key)
        except Exception:
            return {}
        each = (perf_counter() - since) / few
        if host_rng_state() != before or each * batches.samples / batches.share.ranks * epochs <= MATTERS:
            return {}
        rates: Rates = {}
        for number, count in enumerate(sorted({max(1, cores() // 2), cores(), 2 * cores()})):
            rates[count] = by(batches, count, few + number * batches.samples // 4)
        return rates if all(rates.values()) else {}


def best(rates: Rates) -> int:
    """The fewest readers that are about as fast as any number of them.

    >>> best({1: 900.0, 2: 1700.0, 4: 1750.0})
    2
    """
    return min(count for count, rate in rates.items() if rate >= ENOUGH * max(rates.values()))


def describe(rates: Rates) -> str:
    """For the plan."""
    seen = ", ".join(f"{count} read {rate:,.0f}" for count, rate in rates.items())
    return f"{best(rates)}, measured: {seen} samples/s"


def threads(batches: MapBatches, count: int, first: int) -> float:
    """Samples a second that so many threads read, from sample `first` on; 0 where one cannot be read."""
    done = [0] * count
    since = perf_counter()
    hands = [
        Thread(target=_until, args=(batches, keys, since + TRIED, done, hand)) for hand, keys in enumerate(shares(first, count))
    ]
    for thread in hands:
        thread.start()
    for thread in hands:
        thread.join()
    return 0.0 if min(done) < 0 else sum(done) / (perf_counter() - since)


def processes(batches: MapBatches, count: int, first: int) -> float:
    """The same of forked processes; 0 where there are none."""
    if not can_fork():
        return 0.0
    done = shared_zeros(torch.zeros(count, dtype=torch.int64, device="cpu")).numpy()

    def work(hand: int) -> None:
        forget_signals()
        torch.set_num_threads(1)
        _until(batches, shares(first, count)[hand], perf_counter() + TRIED, done, hand)
        os._exit(0)

    hands = [mp.get_context("fork").Process(target=work, args=(hand,), daemon=True) for hand in range(count)]
    for process in hands:
        process.start()
    for process in hands:
        process.join()
        process.close()
    return 0.0 if min(done) <= 0 else float(sum(done)) / TRIED


def shares(first: int, count: int) -> list[range]:
    """From `first` on without end, each number in one of `count` shares."""
    return [range(first + hand, 2**62, count) for hand in range(count)]


def _until(batches: MapBatches, keys: range, deadline: float, done: list[int] | NDArray[np.int64], hand: int) -> None:
    try:
        for key in keys:
            _read(batches, key % batches.samples)
            done[hand] += 1
            if perf_counter() > deadline:
                return
    except Exception:
        done[hand] = -1


def _read(batches: MapBatches, key: int) -> None:
    order = (key * 7919) % batches.samples  # from all over the data: those side by side may be alike
    batches.sample(0, order)


@contextmanager
def _undrawn() -> Iterator[None]:
    """Whatever is drawn inside, the generators of this host are afterwards where they were."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
