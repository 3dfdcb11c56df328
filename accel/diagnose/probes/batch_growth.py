"""How forward and backward pass grow with the batch: a quarter of it, half, all, twice of it."""

from __future__ import annotations

from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from accel.data.batches.structure import flatten, split_batch, unflatten
from accel.device.out_of_memory import free_cached_memory, is_out_of_memory, release_frames
from accel.diagnose.decision.figures import BatchFit, fit_batches
from accel.diagnose.probes.probed_run import ProbedRun
from accel.parts import Compile, Micro, Window
from accel.system.clock import BACKWARD, FORWARD

__all__ = [
    "FACTORS", "FEWEST", "LOW", "ROUNDS", "TINY_FACTORS", "fitting_windows", "growth", "repeated", "seconds_of_passes",
    "sized_windows",
]  # fmt: skip

FACTORS, TINY_FACTORS = (1, 0.25, 0.5, 2), (1, 2, 4, 8)
"""Sizes of the batches that are measured, as multiples of the run's own; and of one that has too few samples to be cut."""
ROUNDS, FEWEST = 48, 5
"""Measurements of each size, at most and at least."""
LOW = 8
"""The least time but for one in so many is taken: other programs make some longer, and none shorter."""


def growth(probed: ProbedRun, seconds: float) -> BatchFit | None:
    """Return forward and backward pass of a micro-batch as a line over its size; None where its size cannot be changed.

    The sizes take turns. A compiled or captured model is left alone: it would be compiled anew for every size.

    Args:
        probed: the run.
        seconds: for all sizes.
    """
    run = probed.run
    if type(run.parts.compile) is not Compile or run.parts.update.name == "cuda_graph":
        return None
    windows, least = fitting_windows(probed), 0.0
    if len(windows) < 2:
        return None
    for window in windows.values():
        least += seconds_of_passes(probed, window)
    rounds = run.parts.parallel.highest([max(FEWEST, min(ROUNDS, int(seconds / max(least, 1e-6))))])[0]
    times: dict[int, list[float]] = {size: [] for size in windows}
    for _ in range(rounds):
        for size, window in windows.items():
            times[size].append(seconds_of_passes(probed, window))
    undisturbed = {size: sorted(values)[len(values) // LOW] for size, values in times.items()}
    return fit_batches(undisturbed, probed.batch_size)


def seconds_of_passes(probed: ProbedRun, window: Window) -> float:
    """Return the seconds of forward and backward pass in an update of a window; on CUDA those of all of it."""
    spent = probed.run.clock.spent
    probed.synchronise()
    before, started = spent[FORWARD] + spent[BACKWARD], perf_counter()
    probed.run.parts.update(window)
    if not probed.on_device:
        return spent[FORWARD] + spent[BACKWARD] - before
    probed.synchronise()
    return perf_counter() - started


def fitting_windows(probed: ProbedRun) -> dict[int, Window]:
    """Return those of `sized_windows` that the model takes, which may want batches of one size."""
    run, fitting = probed.run, {}
    for size, window in sized_windows(probed.window).items():
        try:
            run.parts.update(window)
        except Exception as error:  # of the user's model
            run.unwrapped_model.zero_grad()
            if run.parts.parallel.world_size > 1:
                raise
            if is_out_of_memory(error):
                release_frames(error)
            continue
        fitting[size] = window
    free_cached_memory(run.device)
    return fitting


def sized_windows(window: Window) -> dict[int, Window]:
    """Return windows of one micro-batch, by its size: the first one of a window times each of `FACTORS`."""
    first = next(iter(window.micros))
    windows = {}
    for factor in FACTORS if first.samples >= 4 else TINY_FACTORS:
        size = int(first.samples * factor)
        if size == 0:
            continue
        try:
            batch = repeated(first, int(factor)) if factor > 1 else split_batch(first.batch, first.samples, size)[0]
        except TypeError:  # a batch that cannot be cut
            continue
        windows[size] = Window((Micro(batch, size, 1.0, True),), 1, size)
    return windows


def repeated(micro: Micro, times: int) -> Any:
    """Return the batch of a micro-batch with each of its samples several times. Raise TypeError for one that cannot be cut."""
    tensors: list[Tensor] = []
    flatten(micro.batch, tensors)
    split_batch(micro.batch, micro.samples, max(1, micro.samples // 2))  # refuses what has no sample for each place
    longer = [torch.cat([tensor] * times) if tensor.dim() and len(tensor) == micro.samples else tensor for tensor in tensors]
    return unflatten(micro.batch, iter(longer))
