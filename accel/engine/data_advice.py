"""What to try where the training waits for its data: only what is not on already, and can work for this data on this machine."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
from torch.utils.data import DataLoader

from accel.data.batches.base import Batches
from accel.data.batches.mapped import MapBatches
from accel.data.batches.ready import ReadyBatches
from accel.data.loaders import load_all
from accel.errors import ConfigError
from accel.parts import Loader, Prefetch
from accel.report.result import DataFlow
from accel.system.clock import DATA, TRAINING
from accel.system.machine import cores

if TYPE_CHECKING:
    from accel.engine.training_run import TrainingRun

ROOM = 3
"""The pictures, with what may come in at their borders, mirrored as well, take up to so many times their bytes."""


def data_flow(run: TrainingRun) -> DataFlow | None:
    """How the data of this run came through; None where nothing was trained."""
    spent = run.clock.spent[: len(TRAINING)]
    total, samples = sum(spent), run.progress.samples - run.samples_at_start
    if not samples or not total:
        return None
    meter = run.train.meter
    found = DataFlow(100 * spent[DATA] / total, spent[DATA], samples / total, None if meter is None else meter.rate)
    if found.bound:
        found.tries = suggestions(run)
    return found


def suggestions(run: TrainingRun) -> list[str]:
    """What might make the data come faster, the best first."""
    batches, loader = run.train, run.parts.loader
    own = type(run.parts.prefetch) is Prefetch
    if isinstance(batches, MapBatches) and not batches.in_memory:
        return [*reader_suggestions(run, batches), *dataset_suggestions(batches.data)]
    if isinstance(batches, MapBatches):  # it is indexed at once: nobody is faster on the host
        return [plugin_override(run, "resident")] if type(loader) is Loader and run.device.type == "cuda" else []
    if isinstance(batches, ReadyBatches):
        return ready_batch_suggestions(run, batches.data, own)
    return [plugin_override(run, "prefetch")] if own and type(loader) is Loader else []


def ready_batch_suggestions(run: TrainingRun, data: Any, own: bool) -> list[str]:
    """For ready batches: a DataLoader without workers can have some; a list has nothing to read."""
    if isinstance(data, list | tuple):
        return []
    if not isinstance(data, DataLoader):
        return [plugin_override(run, "prefetch")] if own else []
    if data.num_workers:
        return [f"more than num_workers={data.num_workers} in the DataLoader"] if data.num_workers < cores() else []
    return [f"num_workers={cores()} in the DataLoader"] * (cores() > 1) + [plugin_override(run, "prefetch")] * own


def reader_suggestions(run: TrainingRun, batches: MapBatches) -> list[str]:
    """Another loader, or more of what this one has."""
    loader, found = run.parts.loader, []
    if fits_in_memory(run, batches):
        found.append(f"{plugin_override(run, 'resident')}, as the data fits into memory")
    if type(loader) is Loader:
        name = "threads" if batches.has_fill else "workers"
        found += [f"{plugin_override(run, name)}, which reads on {cores()} cores"] if cores() > 1 else []
    elif loader.name in ("threads", "workers") and getattr(loader, "number", cores()) < cores():
        found.append(f"plugins.{loader.name}.count={cores()}" if run.command else f"{type(loader).__name__}(count={cores()})")
    return found


def fits_in_memory(run: TrainingRun, batches: Batches) -> bool:
    """Whether `resident` takes the data, as far as can be told without reading it."""
    data: Any = getattr(batches, "data", None)
    shape, dtype = getattr(data, "shape", None), getattr(data, "dtype", None)
    if shape is None or dtype is None or not hasattr(data, "moves") or hasattr(data, "collate"):
        return False
    try:
        data.moves()
    except ConfigError:
        return False
    free = load_all.free(run.device)
    return free is not None and ROOM * len(data) * prod(shape) * np.dtype(dtype).itemsize < free / 2


def dataset_suggestions(data: Any) -> list[str]:
    """What the data set itself knows of: `advice()`, a list of texts."""
    tell = getattr(data, "advice", None)
    return list(tell()) if tell else []


def plugin_override(run: TrainingRun, name: str) -> str:
    """How to switch a plugin on."""
    return f"'+plugins=[{name}]'" if run.command else f"plugins=[{name!r}]"
