"""How forward and backward pass grow with the batch: half of it, all of it, twice of it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from accel.data.batches.structure import flatten, split_batch, unflatten
from accel.device.out_of_memory import free_cached_memory, is_out_of_memory
from accel.diagnose.decision.figures import BatchFit, fit_batches
from accel.diagnose.probes.probed_run import ProbedRun
from accel.parts import Compile, Micro, Window

__all__ = ["doubled", "growth", "sized_windows"]


def growth(probed: ProbedRun, seconds: float) -> BatchFit | None:
    """Return forward and backward pass of a micro-batch as a line over its size; None where its size cannot be changed.

    A compiled or captured model is left alone: it would be compiled anew for every size.

    Args:
        probed: the run.
        seconds: for each of three sizes.
    """
    run = probed.run
    if type(run.parts.compile) is not Compile or run.parts.update.name == "cuda_graph":
        return None
    times: dict[int, float] = {}
    for size, window in sized_windows(probed.window).items():
        try:
            phases = probed.time(lambda window=window: run.parts.update(window), seconds).phases  # type: ignore[misc]
        except Exception as error:  # of the user's model, which may want batches of one size
            run.unwrapped_model.zero_grad()
            if run.parts.parallel.world_size > 1:
                raise
            if is_out_of_memory(error):
                del error
                free_cached_memory(run.device)
            continue
        times[size] = phases["forward"] + phases["backward"]
    return fit_batches(times)


def sized_windows(window: Window) -> dict[int, Window]:
    """Return windows of one micro-batch, by its size: half of the first one of a window, all of it and twice of it."""
    first = next(iter(window.micros))
    windows = {}
    for factor in (1, 2, 0.5):
        size = int(first.samples * factor)
        try:
            batch = first.batch if factor == 1 else doubled(first) if factor > 1 else split_batch(first.batch, first.samples, size)[0]
        except TypeError:  # a batch that cannot be cut
            continue
        if size > 0:
            windows[size] = Window((Micro(batch, size, 1.0, True),), 1, size)
    return windows


def doubled(micro: Micro) -> Any:
    """Return the batch of a micro-batch with each of its samples twice. Raise TypeError for one that cannot be cut."""
    tensors: list[Tensor] = []
    flatten(micro.batch, tensors)
    split_batch(micro.batch, micro.samples, max(1, micro.samples // 2))  # refuses what has no sample for each place
    twice = [torch.cat((tensor, tensor)) if tensor.dim() and len(tensor) == micro.samples else tensor for tensor in tensors]
    return unflatten(micro.batch, iter(twice))
