"""The model of another run, loaded into this one: a teacher."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from accel.checkpoints.weights.find_weights import find_weights, run_directory_of
from accel.engine.loading.load import load_into
from accel.engine.loading.task_record import GIVEN, TaskRecord
from accel.engine.task import Task
from accel.errors import ConfigError, nearest

__all__ = ["SavedModel", "load_other"]


class SavedModel(NamedTuple):
    """Trained model of another run, on the CPU, in evaluation mode."""

    model: nn.Module
    title: str
    """Where it came from, in words."""
    check: Callable[[], None]
    """Compares what both tasks know of their data, once this run's is open. Raises ConfigError if they differ."""


def load_other(
    task: Task, model: nn.Module, own: Path | None, path: str, arguments: dict[str, Any] | None, owner: str
) -> SavedModel:
    """Return the trained model of another run, with the weights that its evaluation used.

    A run directory says how its model is made. A file of weights that lies in none is of this run's task, with other arguments. For
    a run that was given its model in Python, a copy of this run's model is tried.

    Args:
        task: the task of this run.
        model: its model.
        own: its run directory; None if it writes nothing.
        path: a run directory, a .safetensors file, or a checkpoint's .pt.
        arguments: those of this run's task in which the model's differ; None for those of the run directory.
        owner: the setting that names it, for messages.

    Raises:
        ConfigError: if there is none, it cannot be read or made, or it is this run's own.
    """
    label, place = f"{owner}={path}", Path(path).expanduser()
    places = {run_directory_of(place).resolve(), run_directory_of(place.resolve()).resolve()}  # a link, too
    if own is not None and own.resolve() in places:
        raise ConfigError(f"{label} is the directory of this run itself; name that of another run, or another out=DIR")
    try:
        source = find_weights(place)
        record = TaskRecord.read(run_directory_of(place)) if arguments is None else None
        known = record or _own_record(task, arguments or {}, owner)
        if known.task == GIVEN:
            other = load_into(source, None, torch.device("cpu"), deepcopy(model))
        else:
            other = load_into(source, known.make(type(task) if record is None else None), torch.device("cpu"))
    except ConfigError as error:
        raise ConfigError(f"{label}: {error}{_remedy(str(error), owner)}") from error.__cause__
    return SavedModel(other, f"{path} ({source.text})", partial(_check, label, task, record))


def _own_record(task: Task, arguments: dict[str, Any], owner: str) -> TaskRecord:
    """Return the record of this run's task with other arguments. Raise ConfigError if it has none of a name."""
    record = TaskRecord.of(task)
    names = [name for name in signature(type(task).__init__).parameters if name != "self"]
    if wrong := [name for name in arguments if name not in names or name == "run"]:
        hint = nearest(wrong[0], names) or f"; it has {', '.join(name for name in names if name != 'run')}"
        raise ConfigError(f"{owner}_task: {type(task).__name__} has no argument {wrong[0]!r}{hint}")
    if record.arguments is not None:
        record.arguments |= arguments
    return record


def _remedy(reason: str, owner: str) -> str:
    """Return what to do about weights of another model, in words; empty for any other reason."""
    if "weights are of another model" not in reason:
        return ""
    return f"; say what its model is with {owner}_task={{argument: value}}, name a run directory, or give the module in Python"


def _check(label: str, task: Task, record: TaskRecord | None) -> None:
    """Raise ConfigError if the other run's task knew something else from its data than this one."""
    try:
        if record is not None:
            record.check(task.metadata())
    except ConfigError as error:
        raise ConfigError(f"{label}: {error}; take a teacher of the same classes") from None
