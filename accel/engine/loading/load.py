"""The model of a run, with the weights that its evaluation used: `accel.load`."""

from __future__ import annotations

from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import nn

from accel.checkpoints.weights.find_weights import FoundWeights, find_weights, run_directory_of
from accel.checkpoints.weights.rebuilt_model import rebuild
from accel.checkpoints.weights.saved_weights import put_back, put_weights, read_weights
from accel.device.cuda.run_device import choose_device
from accel.engine.loading.task_record import GIVEN, TaskRecord
from accel.engine.task import Task
from accel.errors import ConfigError, describe
from accel.schema.settings import Settings
from accel.system.calls.call_arguments import with_checked_arguments

__all__ = ["fresh_model", "load", "load_into", "load_task"]


@with_checked_arguments
def load(
    path: str | PathLike[str],
    weights: str | None = None,
    device: str = "cpu",
    model: nn.Module | None = None,
    task: Task | type[Task] | None = None,
) -> nn.Module:
    """Return the model of a run in evaluation mode, with the weights that an evaluation would use: averaged ones if it averaged.

    The model is the one that is given, or is made by the task: as the run directory keeps it, with its class and its arguments, or
    as it is given. No data is needed, unless a task of your own needs it to be made.

    Args:
        path: a run directory; the .pt file of a checkpoint; or a .safetensors file of a run, or of any other origin with `model`.
        weights: of a run directory: `"best"` (`checkpoint_best`), `"last"`, or the name of a checkpoint. Default: the best if it
            keeps one, else the last.
        device: `"cpu"`, `"cuda"`, `"cuda:1"`, `"mps"`, `"xpu"` or `"auto"`.
        model: a module of the make that was trained, which gets the weights.
        task: the task that makes the model: an instance, or a class, which is called with the arguments of the run.

    Raises:
        ConfigError: if there is no such run, the model cannot be made, or the weights do not fit it. All of them must.
    """
    if weights is not None and not isinstance(weights, str):
        raise ConfigError(f"weights must be best, last or the name of a checkpoint, not {describe(weights)}")
    device = Settings(device=device).device
    source = find_weights(Path(path), weights)
    if task is not None and not isinstance(task, Task | type):
        raise ConfigError(f"task must be an instance or a subclass of accel.Trainer, not {describe(task)}")
    if model is not None and not isinstance(model, nn.Module):
        raise ConfigError(f"model must be a torch.nn.Module, not {describe(model)}")
    if model is None and not isinstance(task, Task):
        task = load_task(Path(path), task)
    owner = task if isinstance(task, Task) else None
    return load_into(source, owner, choose_device(device), model)


def load_task(path: Path, kind: type[Any] | None = None) -> Task:
    """Return the task of a run, made again without its data.

    Args:
        path: the run directory, or a file in it.
        kind: its class; None for the one that the run directory names.

    Raises:
        ConfigError: if the directory does not say how, or it cannot be made so.
    """
    run = run_directory_of(path)
    record = TaskRecord.read(run)
    if record is None:
        reason = "it was written by an earlier accel, or is no run directory"
        raise ConfigError(f"{run} has no task.json, which says how the model is made ({reason}); pass the model: model=...")
    if kind is None and record.task == GIVEN:
        raise ConfigError(
            f"the run in {run} was given its model in Python; pass one of its make: accel.load({str(path)!r}, model=...)"
        )
    return record.make(kind)


def load_into(source: FoundWeights, task: Task | None, device: torch.device, model: nn.Module | None = None) -> nn.Module:
    """Return a model with the weights of a file, on a device, in evaluation mode.

    Args:
        source: the weights.
        task: makes the model, and gets back what it remembered; None if a model is given.
        device: the device.
        model: the model; None to make one.

    Raises:
        ConfigError: if they do not fit.
    """
    if model is None:
        assert task is not None
        model = fresh_model(task.model)
    model = rebuild(model, source.structure)
    saved = read_weights(source, model)
    put_weights(source, saved, model)
    model.to(device)
    put_back(saved, model, task, device)
    return model.eval()


def fresh_model(make: Callable[[], Any]) -> nn.Module:
    """Return a model that is made while torch's random numbers stay where they are. Raise ConfigError if it is none."""
    with torch.random.fork_rng(devices=[]):
        model = make()
    if not isinstance(model, nn.Module):
        raise ConfigError(f"model() returned {describe(model)}; return an instance of a torch.nn.Module")
    return model
