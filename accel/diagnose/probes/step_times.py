"""Times of whole updates: with the wait for their data, of the same batch again, and of the loader alone."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from time import perf_counter, process_time

import torch

from accel.diagnose.decision.timing import Timing
from accel.diagnose.probes.probed_run import LEAST, ProbedRun, in_blocks
from accel.engine.training_run import TrainingRun
from accel.parts import Loader, Prefetch
from accel.report.other_load import has_children
from accel.system.clock import OTHER, TRAINING, TRANSFER
from accel.system.cpu.run_delay import RunDelay

__all__ = [
    "LOADER_SETTLE", "TURNS", "LoaderTimes", "OwnData", "PhaseTimes", "SameBatch", "WholeSteps",
    "device_phases", "queueing_time", "reads_ahead", "steps_in_turn", "time_loader",
]  # fmt: skip

LOADER_SETTLE = 8
"""Batches after which those that were read ahead are used up."""
TURNS = 6
"""Turns of updates on the run's own data and of the same batch again, at most."""


@dataclass(frozen=True)
class PhaseTimes:
    """Times of repeated updates.

    Args:
        each: of an update.
        busy: seconds of processor time of an update, of all threads of this process.
        phases: mean seconds of each phase of `TRAINING`, by the clock of the run.
    """

    each: Timing
    busy: float
    phases: dict[str, float]


@dataclass(frozen=True)
class WholeSteps:
    """Updates as in the run.

    Args:
        step: whole update.
        wait: of that, the wait for data.
        transfer: of that, mean seconds of copying to the device, by the host's clock.
        count: updates that were timed.
    """

    step: Timing
    wait: Timing
    transfer: float
    count: int


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


def steps_in_turn(probed: ProbedRun, seconds: float) -> tuple[WholeSteps, PhaseTimes]:
    """Return the times of updates on the run's own data, and those of the same batch again, which waits for no data.

    They take turns, so that a slow moment of the machine meets both: what then parts them is the data. What was read ahead in the
    other's turn is used up before a turn on the run's own data counts.

    Args:
        probed: the run.
        seconds: for all of it, about.
    """
    own, same = OwnData(probed), SameBatch(probed)
    settle = LOADER_SETTLE if reads_ahead(probed.run) else 1
    count = probed.count_for(own.step, seconds / 2)
    turns = max(1, min(TURNS, count // (2 * settle)))
    for _ in range(turns):
        own.take(-(-count // turns), settle if turns > 1 else 0)
        same.take(-(-count // turns), 1)
    return own.times(), same.times()


def reads_ahead(run: TrainingRun) -> bool:
    """Return whether batches are read while updates are made."""
    return type(run.parts.loader) is not Loader or type(run.parts.prefetch) is not Prefetch


class OwnData:
    """Updates as in the run, with the wait for their data.

    Args:
        probed: the run.
    """

    def __init__(self, probed: ProbedRun) -> None:
        self.probed, self.steps, self.waits, self.transfer = probed, list[float](), list[float](), 0.0

    def step(self) -> float:
        """Make an update, and return the seconds that it waited for its data."""
        started = perf_counter()
        window = next(self.probed.windows)
        waited = perf_counter() - started
        self.probed.run.parts.update(window)
        return waited

    def take(self, count: int, settle: int) -> None:
        """Time `count` updates, after `settle` that do not count. On CUDA the host waits for the device at the end alone."""
        for _ in range(settle):
            self.step()
        spent = self.probed.run.clock.spent
        self.probed.synchronise()
        copied = spent[TRANSFER]
        for number in range(count):
            started = perf_counter()
            self.waits.append(self.step())
            if number + 1 == count or not self.probed.on_device:
                self.probed.synchronise()
            self.steps.append(perf_counter() - started)
        self.transfer += spent[TRANSFER] - copied

    def times(self) -> WholeSteps:
        """Return the times of all turns."""
        return WholeSteps(in_blocks(self.steps), in_blocks(self.waits), self.transfer / len(self.steps), len(self.steps))


class SameBatch:
    """Updates of one batch, again and again.

    Args:
        probed: the run.
    """

    def __init__(self, probed: ProbedRun) -> None:
        self.probed, self.steps, self.busy = probed, list[float](), 0.0
        self.spent = [0.0] * len(TRAINING)

    def take(self, count: int, settle: int) -> None:
        """Time `count` updates, after `settle` that do not count."""
        for _ in range(settle):
            self.probed.update_and_wait()
        clock = self.probed.run.clock
        clock.lap(OTHER)
        before, busy = list(clock.spent), process_time()
        for _ in range(count):
            started = perf_counter()
            self.probed.update_and_wait()
            self.steps.append(perf_counter() - started)
        self.busy += process_time() - busy
        self.spent = [spent + clock.spent[number] - before[number] for number, spent in enumerate(self.spent)]

    def times(self) -> PhaseTimes:
        """Return the times of all turns."""
        count = len(self.steps)
        phases = {name: spent / count for name, spent in zip(TRAINING, self.spent, strict=True)}
        return PhaseTimes(in_blocks(self.steps), self.busy / count, phases)


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
