"""Times of whole updates: with the wait for their data, of the same batch again, and of the loader alone."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from time import perf_counter, process_time

import torch

from accel.diagnose.decision.timing import Timing
from accel.diagnose.probes.probed_run import LEAST, PhaseTimes, ProbedRun, in_blocks
from accel.report.other_load import has_children
from accel.system.clock import TRAINING, TRANSFER
from accel.system.cpu.run_delay import RunDelay

__all__ = [
    "LOADER_SETTLE", "LoaderTimes", "WholeSteps", "device_phases", "queueing_time", "same_batch", "time_loader", "whole_steps",
]  # fmt: skip

LOADER_SETTLE = 8
"""Batches after which those that were read ahead are used up."""


@dataclass(frozen=True)
class WholeSteps:
    """Updates as in the run.

    Args:
        step: whole update.
        wait: of that, the wait for data.
        transfer: of that, mean seconds of copying to the device, by the host's clock.
    """

    step: Timing
    wait: Timing
    transfer: float


@dataclass(frozen=True)
class LoaderTimes:
    """Loader alone.

    Args:
        window: the data of an update.
        busy: of that, seconds of processor time of this process; None where other processes read.
        idle: of that, seconds in which it neither computed nor waited for a core; None as above.
    """

    window: Timing
    busy: float | None
    idle: float | None


def whole_steps(probed: ProbedRun, seconds: float) -> WholeSteps:
    """Return the times of updates on the run's own data. On CUDA the host waits for the device at the end of each block alone."""
    run = probed.run

    def step() -> None:
        run.parts.update(next(probed.windows))

    count = probed.count_for(step, seconds)
    steps, waits, copied = [], [], run.clock.spent[TRANSFER]
    block = max(1, count // 8) if probed.on_device else 1
    probed.synchronise()
    for number in range(count):
        started = perf_counter()
        window = next(probed.windows)
        waits.append(perf_counter() - started)
        run.parts.update(window)
        if (number + 1) % block == 0:
            probed.synchronise()
        steps.append(perf_counter() - started)
        del window  # its memory is read into again
    return WholeSteps(in_blocks(steps), in_blocks(waits), (run.clock.spent[TRANSFER] - copied) / count)


def same_batch(probed: ProbedRun, seconds: float) -> PhaseTimes:
    """Return the times of updates of the same batch, which waits for no data."""
    return probed.time(probed.update, seconds)


def time_loader(probed: ProbedRun, seconds: float) -> LoaderTimes:
    """Return the times of the loader alone: nobody computes beside it. What was read ahead is used up before."""
    started = perf_counter()
    for _ in range(probed.run.parts.parallel.highest([LOADER_SETTLE])[0]):
        next(probed.windows)
        if perf_counter() - started > seconds / 2 and probed.run.parts.parallel.world_size == 1:
            break
    count = probed.count_for(lambda: next(probed.windows), seconds)
    times, busy, delay = [], process_time(), RunDelay()
    for _ in range(count):
        started = perf_counter()
        next(probed.windows)
        times.append(perf_counter() - started)
    computed, waited = process_time() - busy, sum(times) * (delay.share() or 0.0)
    if has_children():
        return LoaderTimes(in_blocks(times), None, None)
    return LoaderTimes(in_blocks(times), computed / count, max(0.0, sum(times) - computed - waited) / count)


def queueing_time(probed: ProbedRun) -> float | None:
    """Return the seconds until the host has queued an update on CUDA; None on a CPU, which queues nothing."""
    if not probed.on_device:
        return None
    times = []
    for _ in range(LEAST):
        probed.synchronise()
        started = perf_counter()
        probed.update()
        times.append(perf_counter() - started)
    probed.synchronise()
    return min(times)


def device_phases(probed: ProbedRun) -> dict[str, float]:
    """Return the seconds that the device takes for each phase of an update of the same batch, by events. CUDA alone."""
    marks: list[tuple[int, torch.cuda.Event]] = []

    def mark(phase: int) -> None:
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        marks.append((phase, event))

    sums = dict.fromkeys(TRAINING, 0.0)
    listeners = probed.run.clock.listeners
    listeners.append(mark)
    try:
        for _ in range(LEAST):
            probed.synchronise()
            mark(-1)
            probed.update()
    finally:
        listeners.remove(mark)
    probed.synchronise()
    for (_, before), (phase, after) in pairwise(marks):
        if 0 <= phase < len(TRAINING):
            sums[TRAINING[phase]] += before.elapsed_time(after) / 1000 / LEAST
    return sums
