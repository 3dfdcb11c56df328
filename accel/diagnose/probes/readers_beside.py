"""Readers at work beside updates: how fast both are then."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import perf_counter

import torch
from torch import Tensor

from accel.data.batches.mapped import MapBatches
from accel.data.batches.structure import flatten
from accel.data.loaders.autotune import TRIAL_SECONDS, begin_processes, begin_threads
from accel.device.cpu.thread_trial import mean_seconds
from accel.device.rng import Randomness
from accel.diagnose.decision.figures import Beside
from accel.diagnose.probes.probed_run import ProbedRun
from accel.engine.training_run import TrainingRun
from accel.parts import Loader
from accel.parts.parallel import NOTHING

__all__ = ["IO_FACTORS", "MOST_READERS", "PASSES_OVER_MEMORY", "gather_seconds", "reader_counts", "time_beside"]

IO_FACTORS, MOST_READERS = (1, 4), 32
"""Readers that are tried, as multiples of the cores, and the most of them. Those that wait for a disk need no core."""
PASSES_OVER_MEMORY = 3
"""Passes over a batch that gathering, moving and mirroring it take, one of which is measured."""


def time_beside(probed: ProbedRun, counts: Sequence[int], in_threads: bool, cores: int) -> dict[int, Beside]:
    """Return the rates of readers and of updates beside each other, by the number of readers; empty where none can be begun.

    Their samples are dropped, and random generators stay where they are. Data that does not come sample by sample has no readers.

    Args:
        probed: the run.
        counts: numbers of readers.
        in_threads: whether they are threads of this process; else processes that it forks.
        cores: that this process can keep busy.
    """
    batches = probed.run.train
    if not isinstance(batches, MapBatches) or batches.in_memory:
        return {}
    begin = begin_threads if in_threads else begin_processes
    times: dict[int, Beside] = {}
    with Randomness(probed.run.device).preserved():
        for number, count in enumerate(counts):
            first = number * batches.samples // (len(counts) + 1)
            alone = begin(batches, count, first)()
            rate, update = _beside(probed, begin, batches, count, first + batches.samples // 2, cores)
            if alone and rate:
                times[count] = Beside(rate, alone, update)
    return times


def _beside(
    probed: ProbedRun, begin: Callable[[MapBatches, int, int], Callable[[], float]], batches: MapBatches, count: int, first: int,
    cores: int,
) -> tuple[float, float]:  # fmt: skip
    """Return samples a second, and the seconds of an update, beside each other. Updates are made while the readers are at work.

    Where both want more cores than there are, torch's threads sleep while they wait, as they would soon in the run.
    """
    waiting = probed.run.parts.backend.waiting
    with NOTHING if waiting is None or count + torch.get_num_threads() <= cores else waiting.sleeping():
        started = perf_counter()
        finish = begin(batches, count, first)
        seconds = mean_seconds(probed.update_and_wait, max(0.0, TRIAL_SECONDS - (perf_counter() - started)))
        return finish(), seconds


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
