"""Updates of the same batch with other numbers of torch's threads, on a CPU."""

from __future__ import annotations

from functools import partial
from time import perf_counter

import torch

from accel.device.cpu.thread_trial import mean_seconds, thread_counts
from accel.diagnose.decision.timing import Timing
from accel.diagnose.probes.probed_run import ProbedRun
from accel.parts import Compile

__all__ = ["FEWEST", "ROUNDS", "time_thread_counts"]

ROUNDS, FEWEST = 6, 4
"""Measurements of each number of threads, fewer if they take long; they take turns: another program's moment hits none alone."""


def time_thread_counts(probed: ProbedRun, seconds: float, cores: int) -> dict[int, Timing]:
    """Return the seconds of an update by the number of threads; empty with several ranks, on CUDA, and for a compiled model.

    Tried are 1, 2, 4 and so on up to as many as there are cores, or what torch has now if that is fewer; and what it has now.
    Afterwards it has as many as before.

    Args:
        probed: the run.
        seconds: for all of it.
        cores: that this process can keep busy.
    """
    run, most = probed.run, torch.get_num_threads()
    counts = sorted({*(count for count in thread_counts() if count <= cores), min(cores, most), most})
    if run.device.type != "cpu" or run.parts.parallel.world_size > 1 or type(run.parts.compile) is not Compile or len(counts) < 2:
        return {}
    times: dict[int, list[float]] = {count: [] for count in counts}
    try:
        began = perf_counter()
        for number in range(ROUNDS):
            if number >= FEWEST and perf_counter() - began > 2 * seconds:
                break
            for count in counts:
                torch.set_num_threads(count)
                probed.update()
                times[count].append(mean_seconds(partial(probed.update), seconds / ROUNDS / len(counts)))
    finally:
        torch.set_num_threads(most)
    return {count: Timing.of(values) for count, values in times.items()}
