"""Updates on trial: whatever they do, the run is afterwards what it was."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

from torch import Tensor

from accel.checkpoints.identity import versions
from accel.engine.evaluation.model_backup import ModelBackup, detached_workers
from accel.engine.input_pipeline import input_pipeline
from accel.engine.training_run import TrainingRun
from accel.parts import Backend, Probe, Run, Window
from accel.system.clock import OTHER

__all__ = ["cloned", "endless_windows", "make_trials", "sandbox"]


def make_trials(run: TrainingRun) -> None:
    """Let the parts that choose or suggest by a trial make it, and write the outcome into the plan.

    A dry run has none, but for pruning and quantisation, whose outcome is what it is to show.
    """
    for shape in (run.parts.pruning, run.parts.quantisation):
        shape.explore(run, lambda: sandbox(run))
        run.plan.facts |= shape.plan_notes()
    if run.max_windows is None:
        parts: tuple[Backend | Probe, ...] = (run.parts.backend, run.parts.probe)
        for part in parts:
            part.explore(run, lambda: sandbox(run))
            run.plan.facts |= part.plan_notes()
        run.plan.facts |= run.parts.loader.plan_notes()  # whose readers are chosen beside threads
        run.saver.versions = versions(run.device)  # with the number of threads that was chosen


@contextmanager
def sandbox(run: Run) -> Iterator[Iterator[Window]]:
    """Give windows of the training data, without end, for `run.parts.update`; put everything back at the end.

    Copies stay on the device of their tensors. Weights and buffers keep their identity; the state of the parts goes through
    `state_dict` and `load_state_dict`, as if the run were resumed. The time counts as `other`. Anything else that the data or
    the user's own objects remember (a counter in the loss, say) cannot be put back.
    """
    model = run.unwrapped_model
    backup = ModelBackup(model)
    extra = cloned({name: value for name, value in model.state_dict().items() if name.endswith("_extra_state")})
    parts = run.parts.all()
    states = [cloned(part.state_dict()) for part in parts]
    rng_state, epoch_rng_state, stop_reason = run.random.state(), run.epoch_rng_state, run.stop_reason
    windows = endless_windows(run)
    try:
        with run.clock.attribute_to(OTHER), detached_workers(run.train):
            run.train_mode()
            yield windows
    finally:
        windows.close()
        backup.restore()
        if extra:
            model.load_state_dict(extra, strict=False)
        for part, state in zip(parts, states, strict=True):
            part.load_state_dict(state)
        run.epoch_rng_state, run.stop_reason = epoch_rng_state, stop_reason
        run.random.restore(rng_state)


def endless_windows(run: Run) -> Generator[Window]:
    """Yield the windows of one epoch after the other, from the first on. End with an epoch that has none."""
    for epoch in count():
        empty = True
        for window in input_pipeline(run, epoch, start=0):
            run.clock.lap(OTHER)
            yield window
            empty = False
        if empty:
            return


def cloned(value: Any) -> Any:
    """Return a state with tensors of its own, which do not move with the tensors that they were copied from."""
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, dict):
        return {key: cloned(inner) for key, inner in value.items()}
    return type(value)(map(cloned, value)) if isinstance(value, list | tuple) else value
