"""Number of readers that reads fastest, measured for a second on the data itself."""

from __future__ import annotations

import multiprocessing as mp
import os
from collections.abc import Callable
from time import perf_counter

import numpy as np
import torch
from numpy.typing import NDArray

from accel.data.batches.mapped import MapBatches
from accel.data.loaders.fork_map import can_fork, shared_zeros
from accel.data.loaders.worker_process import reset_signal_handlers
from accel.data.randomness.rng_guard import global_rng_state
from accel.device.cuda.device_threads import DeviceThread
from accel.device.rng import Randomness
from accel.system.cpu.local_ranks import RANK_CORES

__all__ = [
    "BESIDE",
    "MIN_READ_SECONDS",
    "NEAR_BEST",
    "PROBE_SAMPLES",
    "TRIAL_SECONDS",
    "Rates",
    "begin_processes",
    "begin_threads",
    "best_count",
    "describe_rates",
    "fewer_readers",
    "measure_rates",
    "process_rate",
    "strided_ranges",
    "thread_rate",
]

MIN_READ_SECONDS = 30.0
"""Seconds of reading in the whole run, by this rank on one core, below which the number of readers does not matter."""
TRIAL_SECONDS = 0.4
"""Seconds for which each number of readers is measured."""
PROBE_SAMPLES = 16
"""Samples that tell how long one takes."""
NEAR_BEST = 0.95
"""Share of the best rate that is good enough: more readers are not worth the rest."""

BESIDE = "chosen together with torch's threads"
"""What the plan says of a number of readers that `backend.threads=auto` has chosen."""

Rates = dict[int, float]
"""Samples a second, by the number of readers."""


def measure_rates(batches: MapBatches, epochs: int, rate_of: Callable[[MapBatches, int, int], float]) -> Rates:
    """Return the rates of half as many readers as this rank has cores, as many and twice as many; empty where it does not matter.

    It leaves no trace: samples are dropped, and all random generators stay where they are. Data that draws from the global
    generators is not measured. Nor is data that raises: its error is raised in its turn.

    Args:
        batches: the training data.
        epochs: of the run.
        rate_of: `thread_rate` or `process_rate`.
    """
    with Randomness(torch.device("cpu")).preserved():
        state, started, probes = global_rng_state(), perf_counter(), min(PROBE_SAMPLES, batches.samples)
        try:
            for key in range(probes):
                _read_sample(batches, key)
        except Exception:
            return {}
        seconds = (perf_counter() - started) / probes
        if global_rng_state() != state or seconds * batches.samples / batches.share.ranks * epochs <= MIN_READ_SECONDS:
            return {}
        rates: Rates = {}
        cores = RANK_CORES.count()
        for number, count in enumerate(sorted({max(1, cores // 2), cores, 2 * cores})):
            rates[count] = rate_of(batches, count, probes + number * batches.samples // 4)
        return rates if all(rates.values()) else {}


def best_count(rates: Rates) -> int:
    """Return the fewest readers that are about as fast as any number of them.

    >>> best_count({1: 900.0, 2: 1700.0, 4: 1750.0})
    2
    """
    return min(count for count, rate in rates.items() if rate >= NEAR_BEST * max(rates.values()))


def fewer_readers(count: int) -> list[int]:
    """Return a quarter of `count`, half of it and all: the numbers of readers to try beside torch's threads.

    >>> fewer_readers(8), fewer_readers(2), fewer_readers(1)
    ([2, 4, 8], [1, 2], [1])
    """
    return sorted({max(1, count // 4), max(1, count // 2), count})


def describe_rates(rates: Rates) -> str:
    """Return the best number of readers, and all rates, in words for the plan."""
    measured = ", ".join(f"{count} read {rate:,.0f}" for count, rate in rates.items())
    return f"{best_count(rates)}, measured: {measured} samples/s"


def thread_rate(batches: MapBatches, count: int, first: int) -> float:
    """Return the samples a second that `count` threads read, from sample `first` on; 0 if one cannot be read."""
    return begin_threads(batches, count, first)()


def begin_threads(batches: MapBatches, count: int, first: int) -> Callable[[], float]:
    """Begin to read with `count` threads; return the function that waits for their end, and returns what `thread_rate` does."""
    done = [0] * count
    started = perf_counter()
    threads = [
        DeviceThread(target=_read_until, args=(batches, keys, started + TRIAL_SECONDS, done, place))
        for place, keys in enumerate(strided_ranges(first, count))
    ]
    for thread in threads:
        thread.start()

    def finish() -> float:
        for thread in threads:
            thread.join()
        return 0.0 if min(done) < 0 else sum(done) / (perf_counter() - started)

    return finish


def process_rate(batches: MapBatches, count: int, first: int) -> float:
    """Return the samples a second that `count` forked processes read; 0 if one cannot be read, or none can be forked."""
    return begin_processes(batches, count, first)()


def begin_processes(batches: MapBatches, count: int, first: int) -> Callable[[], float]:
    """Begin to read with `count` forked processes; return the function that waits for their end, and returns their rate."""
    if not can_fork():
        return lambda: 0.0
    done = shared_zeros(torch.zeros(count, dtype=torch.int64, device="cpu")).numpy()

    def read(place: int) -> None:
        reset_signal_handlers()
        torch.set_num_threads(1)
        _read_until(batches, strided_ranges(first, count)[place], perf_counter() + TRIAL_SECONDS, done, place)
        os._exit(0)

    processes = [mp.get_context("fork").Process(target=read, args=(place,), daemon=True) for place in range(count)]
    for process in processes:
        process.start()

    def finish() -> float:
        for process in processes:
            process.join()
            process.close()
        return 0.0 if min(done) <= 0 else float(sum(done)) / TRIAL_SECONDS

    return finish


def strided_ranges(first: int, count: int) -> list[range]:
    """Return `count` endless ranges that share the numbers from `first` on."""
    return [range(first + place, 2**62, count) for place in range(count)]


def _read_until(batches: MapBatches, keys: range, deadline: float, done: list[int] | NDArray[np.int64], place: int) -> None:
    """Read samples until the deadline (`perf_counter`), and count them in `done[place]`; -1 there if one cannot be read."""
    try:
        for key in keys:
            _read_sample(batches, key % batches.samples)
            done[place] += 1
            if perf_counter() > deadline:
                return
    except Exception:
        done[place] = -1


def _read_sample(batches: MapBatches, key: int) -> None:
    """Read a sample from all over the data, since neighbours may be alike, and drop it."""
    index = (key * 7919) % batches.samples  # from all over the data: those side by side may be alike
    batches.sample(0, index)
