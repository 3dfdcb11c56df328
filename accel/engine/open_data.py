"""Open training and held-out data, and count batches and updates."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.data import default_collate

from accel.checkpoints.code import code_digests
from accel.checkpoints.identity import content
from accel.data.batches.base import Batches
from accel.data.batches.structure import count_classes
from accel.engine.request import RunRequest
from accel.engine.training_run import TrainingRun
from accel.errors import ConfigError
from accel.system.call_stack import warn_user

__all__ = ["check_size", "held_out_data", "held_out_only", "open_data", "warn_of_idle_settings"]


def open_data(run: TrainingRun, request: RunRequest) -> None:
    """Fill in everything that `run` knows of its data: batches, classes, identity, number of updates.

    Raises:
        ConfigError: if there is no data, or less than one sample for each rank.
    """
    source, loader = run.parts.source, run.parts.loader
    data, held_out = request.data("train") if request.trains else None, held_out_data(request)
    run.random.register_loaders(data, *held_out.values())
    code = {"data": [*request.code.get("data", []), data], "held_out": list(held_out.values()) or [None]}
    run.code |= code_digests(code)
    if run.parts.parallel.world_size > 1:
        run.rank_code |= code_digests(code, of_ranks=True)
    opened = source.open(data, "train") if request.trains else None
    run.num_classes = request.num_classes() or count_classes(opened)
    if request.trains:
        run.train = loader.open(opened, train=True)
    run.evaluation_split = next(iter(held_out)) if len(held_out) == 1 else "" if held_out else run.evaluation_split
    for split, one in held_out.items():
        loader.split = split
        run.held_out_sets[split] = loader.open(source.open(one, split), train=False)
    if not request.trains:
        run.train = held_out_only(run)
    run.random.hold(handle for batches in (run.train, *run.held_out_sets.values()) for handle in batches.generators())
    run.data_identity = {"train": content(opened, run.train.samples)}
    check_size(run)
    if request.trains:
        warn_of_idle_settings(run, request)
    run.orderable_samples = run.train.samples if run.train.orderable else None
    run.batches, run.uses_batch_size = run.train.count, run.train.uses_batch_size
    run.length.count(run)
    run.evaluations.check(run)


def held_out_only(run: TrainingRun) -> Batches:
    """Return what stands for the training data of a run that only evaluates. Raise ConfigError without held-out data."""
    if run.held_out is None:
        raise ConfigError("there is no held-out data: data(split) gives none for what the task evaluates")
    return run.held_out


def held_out_data(request: RunRequest) -> dict[str, Any]:
    """Return the data to evaluate on, by name; empty if there is none.

    Raises:
        ConfigError: for names that are no texts, or that hold a slash, which divides them from those of metrics; and for a name
            without data beside others, whose metrics would be called otherwise without it.
    """
    splits = request.evaluation_split
    names = [splits] if isinstance(splits, str) else list(splits) if isinstance(splits, list | tuple) else []
    if not names or len(set(map(str, names))) < len(names):
        raise ConfigError(f"evaluates is {splits!r}; name what data(split) is asked for, such as 'val', or several, each once")
    _check_names(names)
    sets = {name: request.data(name) for name in names}
    if all(data is None for data in sets.values()):
        return {}
    if len(sets) == 1 and isinstance(only := next(iter(sets.values())), dict) and not any(map(_is_column, only.values())):
        if not only:
            raise ConfigError(f"the {names[0]} data is an empty dict; give {{name: data set}}, or None for no evaluation")
        _check_names(only)
        sets = only
    if lacking := [name for name, data in sets.items() if data is None]:
        raise ConfigError(f"the data to evaluate on is None under the name {lacking[0]!r}; give data, or leave the name out")
    return sets


def _check_names(names: Iterable[Any]) -> None:
    """Raise ConfigError for what is no name of data to evaluate on."""
    for name in names:
        if not isinstance(name, str) or not name.strip() or "/" in name or name == "train":
            raise ConfigError(f"{name!r} is no name of data to evaluate on; take a text without '/', other than train")


def _is_column(value: Any) -> bool:
    """Return whether a value in a dict is a column of one data set, and no data set itself."""
    return isinstance(value, Tensor | np.ndarray | list | tuple)


def check_size(run: TrainingRun) -> None:
    """Raise ConfigError for a data set that is empty, or that has fewer samples than there are ranks."""
    trained = {} if run.train is run.held_out else {"training": run.train}
    for name, batches in {**trained, **run.held_out_sets}.items():
        if batches.count == 0:
            if batches.samples and batches.share.drop_last:
                size = batches.batch_size * batches.share.ranks
                raise ConfigError(
                    f"drop_last leaves no batch of {size} of the {batches.samples:,} {name} samples; set drop_last=false"
                )
            raise ConfigError(f"the {name} data is empty")
    parallel, samples = run.parts.parallel, run.train.samples
    if trained and samples is not None and samples < parallel.world_size:
        raise ConfigError(
            f"{parallel.name}: {parallel.world_size} ranks, and the training data has {samples:,} samples; start fewer"
        )


def warn_of_idle_settings(run: TrainingRun, request: RunRequest) -> None:
    """Warn of settings that have no effect on this kind of data."""
    settings = request.settings
    if not run.train.uses_batch_size:
        size = getattr(getattr(run.train, "data", None), "batch_size", None)
        ready = "the data comes in ready batches" + (f", of {size} samples by its own batch_size" if size else "")
        if settings.batch_size is not None:
            warn_user(f"batch_size has no effect: {ready}{f', not {settings.batch_size}' if size else ''}")
        if settings.drop_last:
            warn_user(f"drop_last has no effect: {ready}; set it in the DataLoader")
        if _has_idle_collate(run.train, request):
            raise ConfigError(
                f"collate makes batches of samples, and {ready}; give the DataLoader collate_fn=..., or pass its data set"
            )
    if settings.bad_data != "raise" and (run.train.bad_sample_log is None or getattr(run.train, "in_memory", False)):
        reason = "the data is in memory, or comes in ready batches or as a stream, and not sample by sample"
        warn_user(f"bad_data has no effect: {reason}")


def _has_idle_collate(ready: Any, request: RunRequest) -> bool:
    """Return whether a function that collates is given, and ready batches are made without it.

    A task may have one for a loader that it makes itself.
    """
    own = getattr(getattr(ready, "data", None), "collate_fn", default_collate)
    of_task = [getattr(request.task, name, None) for name in ("collate", "collate_fn")]
    return request.collate is not None and (own is default_collate or request.collate not in of_task)
