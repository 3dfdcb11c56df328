"""Advice for a run that waits for its data: only what is not on already and can work for this data, on this machine."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
from torch.utils.data import DataLoader

from accel.data.batches.base import Batches
from accel.data.batches.mapped import MapBatches
from accel.data.batches.ready import ReadyBatches
from accel.data.loaders import load_all
from accel.errors import ConfigError
from accel.parts import Loader, Prefetch, Run
from accel.report.result import DataFlow
from accel.system.clock import DATA, TRAINING
from accel.system.cpu.local_ranks import RANK_CORES

__all__ = [
    "MEMORY_FACTOR",
    "data_flow",
    "dataset_suggestions",
    "fits_in_memory",
    "plugin_override",
    "reader_suggestions",
    "ready_batch_suggestions",
    "suggestions",
]

MEMORY_FACTOR = 3
"""Pictures take up to so many times their bytes in memory: padded at the borders, and mirrored as well."""


def data_flow(run: Run, samples: int) -> DataFlow | None:
    """Return how the data of a run that has ended came through; None if nothing was trained.

    Args:
        run: the run.
        samples: that it consumed in this process.
    """
    seconds = run.clock.spent[: len(TRAINING)]
    total = sum(seconds)
    if not samples or not total:
        return None
    meter = run.train.meter
    flow = DataFlow(100 * seconds[DATA] / total, seconds[DATA], samples / total, None if meter is None else meter.rate)
    if flow.bound:
        flow.tries = suggestions(run)
    return flow


def suggestions(run: Run) -> list[str]:
    """Return what might make the data come faster, the best first, each as the override to type."""
    batches, loader = run.train, run.parts.loader
    reads_late = type(run.parts.prefetch) is Prefetch
    if isinstance(batches, MapBatches) and not batches.in_memory:
        return [*reader_suggestions(run, batches), *dataset_suggestions(batches.data)]
    if isinstance(batches, MapBatches):  # tensors are indexed at once: no reader on the host is faster
        return [plugin_override(run, "resident")] if type(loader) is Loader and run.device.type == "cuda" else []
    if isinstance(batches, ReadyBatches):
        return ready_batch_suggestions(run, batches.data, reads_late)
    return [plugin_override(run, "prefetch")] if reads_late and type(loader) is Loader else []


def ready_batch_suggestions(run: Run, data: Any, reads_late: bool) -> list[str]:
    """Return suggestions for ready batches: workers for a DataLoader; nothing for a list, which has nothing to read."""
    if isinstance(data, list | tuple):
        return []
    if not isinstance(data, DataLoader):
        return [plugin_override(run, "prefetch")] if reads_late else []
    cores = RANK_CORES.count()
    if data.num_workers:
        return [f"more than num_workers={data.num_workers} in the DataLoader"] if data.num_workers < cores else []
    return [f"num_workers={cores} in the DataLoader"] * (cores > 1) + [plugin_override(run, "prefetch")] * reads_late


def reader_suggestions(run: Run, batches: MapBatches) -> list[str]:
    """Return another loader, or more readers for this one."""
    loader, overrides, cores = run.parts.loader, [], RANK_CORES.count()
    if fits_in_memory(run, batches):
        overrides.append(f"{plugin_override(run, 'resident')}, as the data fits into memory")
    if type(loader) is Loader:
        name = "threads" if batches.has_fill else "workers"
        overrides += [f"{plugin_override(run, name)}, which reads on {cores} cores"] if cores > 1 else []
    elif loader.name in ("threads", "workers") and getattr(loader, "reader_count", cores) < cores:
        in_python = f"{type(loader).__name__}(count={cores})"
        overrides.append(f"plugins.{loader.name}.count={cores}" if run.command else in_python)
    return overrides


def fits_in_memory(run: Run, batches: Batches) -> bool:
    """Return whether `resident` takes the data, as far as can be told without reading it."""
    data: Any = getattr(batches, "data", None)
    shape, dtype = getattr(data, "shape", None), getattr(data, "dtype", None)
    if shape is None or dtype is None or not hasattr(data, "moves") or hasattr(data, "collate"):
        return False
    try:
        data.moves()
    except ConfigError:
        return False
    free = load_all.free_memory(run.device)
    return free is not None and MEMORY_FACTOR * len(data) * prod(shape) * np.dtype(dtype).itemsize < free / 2


def dataset_suggestions(data: Any) -> list[str]:
    """Return the data set's own advice: the texts of its `advice()`, if it has one."""
    advice = getattr(data, "advice", None)
    return list(advice()) if advice else []


def plugin_override(run: Run, name: str) -> str:
    """Return how to switch a plugin on: on the command line or in Python, as the run was started."""
    return f"'+plugins=[{name}]'" if run.command else f"plugins=[{name!r}]"
