"""Updates of the same batch with other numbers of torch's threads, on a CPU."""

from __future__ import annotations

from functools import partial

import torch

from accel.device.cpu.thread_trial import mean_seconds, thread_counts
from accel.diagnose.decision.timing import Timing
from accel.diagnose.probes.probed_run import ProbedRun
from accel.parts import Compile

__all__ = ["ROUNDS", "time_thread_counts"]

ROUNDS = 6
"""Measurements of each number of threads; they take turns, so that another program's moment hits none alone."""


def time_thread_counts(probed: ProbedRun, seconds: float, cores: int) -> dict[int, Timing]:
    """Return the seconds of an update by the number of threads; empty with several ranks, on CUDA, and for a compiled model.

    Tried are 1, 2, 4 and so on up to what torch has now, and as many as there are cores. Afterwards it has as many as before.

    Args:
        probed: the run.
        seconds: for all of it.
        cores: that this process can keep busy.
    """
    run, most = probed.run, torch.get_num_threads()
    counts = sorted({*thread_counts(), *(() if cores > most else (cores,))})
    if run.device.type != "cpu" or run.parts.parallel.world_size > 1 or type(run.parts.compile) is not Compile or len(counts) < 2:
        return {}
    times: dict[int, list[float]] = {count: [] for count in counts}
    try:
        for _ in range(ROUNDS):
            for count in counts:
                torch.set_num_threads(count)
                probed.update()
                times[count].append(mean_seconds(partial(probed.update), seconds / ROUNDS / len(counts)))
    finally:
        torch.set_num_threads(most)
    return {count: Timing.of(values) for count, values in times.items()}
