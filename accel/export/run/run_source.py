"""A run that is exported from Python: where its model, its data and its weights come from."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from accel.checkpoints.weights.find_weights import FoundWeights, find_weights, run_directory_of
from accel.device.rng import Randomness
from accel.engine.checks.preflight import check_trainer
from accel.engine.evaluation.model_backup import ModelBackup
from accel.engine.loading.evaluated_splits import evaluated_on
from accel.engine.loading.recorded_request import recorded_request
from accel.engine.loading.task_record import TaskRecord
from accel.engine.request import RunRequest
from accel.engine.task import Task
from accel.errors import ConfigError, describe

if TYPE_CHECKING:
    from accel.trainer import Trainer

__all__ = ["RunSource", "run_source"]

FIX = "pass a trainer made like the one of the run: accel.export(RUN, task=TRAINER)"


@dataclass(frozen=True)
class RunSource:
    """What an export needs of a run."""

    folder: Path
    request: RunRequest
    weights: FoundWeights
    record: TaskRecord | None


@contextmanager
def run_source(
    run: str | PathLike[str] | Trainer, weights: str | None, task: Task | type[Task] | None, model: nn.Module | None,
    evaluates: str | None,
) -> Iterator[RunSource]:  # fmt: skip
    """Give what an export needs of a run; random numbers, and the attributes of a trainer, are afterwards what they were.

    The arguments, and what is raised, are those of `accel.export`.
    """
    for name, value in (("weights", weights), ("evaluates", evaluates)):
        if value is not None and not isinstance(value, str):
            raise ConfigError(f"{name} must be a name, not {describe(value)}")
    if model is not None and not isinstance(model, nn.Module):
        raise ConfigError(f"model must be a torch.nn.Module, not {describe(model)}")
    path, owner = _place(run, task)
    kept = find_weights(path, weights)
    folder = run_directory_of(path)
    request = owner._request() if isinstance(owner, Task) else recorded_request(folder, FIX, owner)  # type: ignore[attr-defined]
    request = evaluated_on(replace(request, model=_model_of(request, model)), evaluates)
    held = request.task
    attributes = dict(vars(held))
    held.record_folder = folder
    modules = [ModelBackup(value) for value in attributes.values() if isinstance(value, nn.Module)]  # such as the head of a loss
    try:
        with Randomness(torch.device("cpu")).preserved():
            yield RunSource(folder, request, kept, TaskRecord.read(folder))
    finally:
        vars(held).clear()
        vars(held).update(attributes)
        for module in modules:
            module.put_back()


def _place(run: Any, task: Any) -> tuple[Path, Any]:
    """Return the run directory, or the file in it that was named, and the task; None or its class where it is to be made."""
    if isinstance(run, Task):
        check_trainer(run, "export")
        if task is not None:
            raise ConfigError("export is given a trainer twice, as the run and as task; keep one")
        out = run.settings.out  # type: ignore[attr-defined]
        if out is None:
            raise ConfigError("the trainer has no run directory, in which its weights are and its exports go: give it out=DIR")
        return Path(out), run
    if not isinstance(run, str | PathLike):
        made = f"; make one: {run.__name__}(...)" if isinstance(run, type) and issubclass(run, Task) else ""
        raise ConfigError(f"export takes a run directory or an accel.Trainer, not {describe(run)}{made}")
    if task is not None and not (isinstance(task, Task) or (isinstance(task, type) and issubclass(task, Task))):
        raise ConfigError(f"task must be an instance or a subclass of accel.Trainer, not {describe(task)}")
    if isinstance(task, Task):
        check_trainer(task, "export")
    return Path(run).expanduser(), task


def _model_of(request: RunRequest, model: nn.Module | None) -> Any:
    """Return what makes the model: a copy of the one that is given here or to the trainer, else what the task makes."""
    held = model if model is not None else request.task.given.get("model")
    if isinstance(held, nn.Module) and (model is not None or _is_given(request)):
        return lambda: deepcopy(held)
    return request.model


def _is_given(request: RunRequest) -> bool:
    """Return whether the task hands out the module that it was given, and makes none itself."""
    return getattr(type(request.task), "model", None) is Task.model
