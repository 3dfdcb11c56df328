"""Updates whose data readers beside them bring, in turn with updates as they are: what such readers would make of the run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from accel.data.batches.base import Batches
from accel.data.batches.mapped import MapBatches
from accel.data.batches.structure import flatten
from accel.data.loaders.fork_map import can_fork
from accel.data.loaders.ring import Ring
from accel.data.loaders.thread_pool import ThreadPool
from accel.data.loaders.worker_pool import WorkerPool
from accel.device.cpu.thread_trial import mean_seconds
from accel.diagnose.decision.timing import Timing
from accel.diagnose.probes.probed_run import ProbedRun
from accel.diagnose.probes.step_times import LOADER_SETTLE, reads_ahead
from accel.engine.sandbox import endless_windows
from accel.engine.training_run import TrainingRun
from accel.parts import Loader, Window
from accel.plugins.threads import Threads
from accel.plugins.workers import Workers

__all__ = ["IO_FACTORS", "MOST_READERS", "PASSES_OVER_MEMORY", "gather_seconds", "reader_counts", "time_readers"]

IO_FACTORS, MOST_READERS = (1, 4), 32
"""Readers that are tried, as multiples of the cores, and the most of them. Those that wait for a disk need no core."""
PASSES_OVER_MEMORY = 3
"""Passes over a batch that gathering, moving and mirroring it take, one of which is measured."""
TURNS, LEAST, SETTLE_SECONDS = 4, 3, 0.2
"""Turns at most, updates of a turn at least, and seconds at least before they count."""


def time_readers(probed: ProbedRun, counts: Sequence[int], in_threads: bool, seconds: float) -> dict[int, Timing]:
    """Return the seconds of an update, with the wait for its data, by the number of readers; by 0 as the run has it now.

    All take turns. Empty where no readers are to be tried, or can be begun. Numbers whose readers fail are left out.

    Args:
        probed: the run.
        counts: numbers of readers.
        in_threads: whether they are threads of this process; else processes that it forks.
        seconds: for all of it, about; longer if one turn of each takes longer.
    """
    run, batches = probed.run, probed.run.train
    if not counts or not isinstance(batches, MapBatches) or batches.in_memory or not (in_threads or can_fork()):
        return {}
    share = seconds / TURNS / (1 + len(counts))
    times: dict[int, list[float]] = {count: [] for count in (0, *counts)}
    began = perf_counter()
    for turn in range(TURNS):
        if turn and (perf_counter() - began) * (turn + 1) / turn > seconds:
            break
        for count in list(times)[:: 1 if turn % 2 else -1]:
            try:
                with _windows(probed, batches, count, in_threads) as windows:
                    times[count].append(_mean_update(probed, windows, _settle(run, count, in_threads), share))
            except Exception:  # of such readers, which may not have the user's data set: then they are none of its remedies
                if not count:
                    raise
                del times[count]
    return {count: Timing.of(values) for count, values in times.items()}


class Reading(Loader):
    """Loader of a trial, whose batches come from `epoch_of`, a function of epoch and first batch."""

    def __init__(self, epoch_of: Callable[[int, int], Iterator[Any]]) -> None:
        self.epoch_of = epoch_of

    def epoch(self, batches: Batches, epoch: int, start: int) -> Iterator[Any]:
        return self.epoch_of(epoch, start)


@contextmanager
def _windows(probed: ProbedRun, batches: MapBatches, count: int, in_threads: bool) -> Iterator[Iterator[Window]]:
    """Give windows of the training data by so many readers; by 0 those of the run."""
    if not count:
        yield probed.windows
        return
    run, own = probed.run, probed.run.parts.loader
    pin = run.device.type == "cuda"
    with ExitStack() as cleanup:
        if in_threads:
            threads = cleanup.enter_context(closing(ThreadPool(count)))
            epoch_of = Ring.from_batches(batches, threads, getattr(own, "depth", Threads.depth), pin).epoch
        else:
            prefetch = getattr(own, "prefetch_factor", Workers.prefetch_factor)
            processes = cleanup.enter_context(closing(WorkerPool([batches], count, prefetch, None, None, pin)))
            epoch_of = partial(processes.batches, 0)
        cleanup.callback(setattr, run.parts, "loader", own)
        run.parts.loader = Reading(epoch_of)
        yield cleanup.enter_context(closing(endless_windows(run)))


def _settle(run: TrainingRun, count: int, in_threads: bool) -> int:
    """Return the updates after which readers are as far ahead as they get."""
    if not count:
        return LOADER_SETTLE if reads_ahead(run) else 1
    return 1 + (Threads.depth if in_threads else Workers.prefetch_factor * count)


def _mean_update(probed: ProbedRun, windows: Iterator[Window], settle: int, seconds: float) -> float:
    """Return the mean seconds of updates that are made for some seconds, after `settle`.

    CPU threads that wait for one another sleep where the run would let them: others need the cores.
    """

    def make(least: int, seconds: float) -> float:
        started, count = perf_counter(), 0
        while count < least or perf_counter() - started < seconds:
            probed.run.parts.update(next(windows))
            count += 1
        probed.synchronise()
        return (perf_counter() - started) / count

    waiting = probed.run.parts.backend.waiting
    if waiting is None or not waiting.crowded(lambda: make(settle, SETTLE_SECONDS), 1):
        return make(LEAST, seconds)
    with waiting.sleeping():
        return make(LEAST, seconds)


def reader_counts(run: TrainingRun, cores: int) -> tuple[list[int], bool]:
    """Return the numbers of readers to try in a run, and whether they are threads; none where it has readers, or cannot have any.

    As many as there are cores, and where the device computes or samples are waited for (`IO_FACTORS`) several times as many.
    """
    batches, loader = run.train, run.parts.loader
    if not isinstance(batches, MapBatches) or batches.in_memory or run.parts.parallel.world_size > 1:
        return [], True
    if type(loader) is not Loader and loader.name not in ("threads", "workers"):
        return [], True
    in_threads = batches.has_fill if type(loader) is Loader else loader.name == "threads"
    now = getattr(loader, "reader_count", 0)
    counts = {factor * cores for factor in IO_FACTORS if factor * cores <= MOST_READERS} | ({1} if cores > 1 else set())
    return sorted(count for count in counts if count > now), in_threads


def gather_seconds(probed: ProbedRun) -> float:
    """Return the seconds of making a batch by indexing tensors in memory, as `resident` does."""
    tensors: list[Tensor] = []
    try:
        flatten(next(iter(probed.window.micros)).batch, tensors)
    except TypeError:
        return 0.0
    rows = [(tensor, torch.randperm(len(tensor), device=tensor.device)) for tensor in tensors if tensor.dim()]
    seconds = mean_seconds(lambda: [tensor[order] for tensor, order in rows], 0.02, 3)
    return PASSES_OVER_MEMORY * seconds * probed.window.batches
