"""From the objectives of a task to the parts of a run."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from copy import copy
from dataclasses import replace
from typing import Any, cast

from accel.engine.objectives.composite import Composite
from accel.engine.objectives.composite_parts import (
    CompositeClip,
    CompositeGuard,
    CompositeObjective,
    CompositeOptim,
    CompositePrecision,
)
from accel.engine.objectives.composite_update import CompositeUpdate
from accel.engine.objectives.minimize import METHOD, Minimize, read_objectives
from accel.engine.objectives.objective_plugins import own_plugins, refuse_single_loss_plugins, unused_settings
from accel.engine.objectives.objective_update import ObjectiveUpdate
from accel.engine.objectives.overlay import Overlay
from accel.engine.objectives.parameter_owners import owned_names, unowned
from accel.engine.request import RunRequest
from accel.engine.task import Task
from accel.engine.training_run import TrainingRun
from accel.errors import ConfigError, describe, listed
from accel.parts import Part, Run

__all__ = ["COMPOSITES", "join_objectives", "view_of"]

COMPOSITES: tuple[type[Composite], ...] = (CompositePrecision, CompositeOptim, CompositeClip, CompositeGuard, CompositeObjective)


def join_objectives(run: TrainingRun, request: RunRequest, plugins: list[Part], cleanup: ExitStack) -> RunRequest:
    """Give the run parts that stand for those of each objective, if the task has objectives. No part is set up yet.

    Args:
        run: the run, with its model.
        request: what the user asked for.
        plugins: the plugins that are on; those of a bundle that do not go together with objectives leave it.
        cleanup: receives what closes the parts that are made here.

    Returns:
        The request, with what was left out, and with the losses among the functions whose state is kept.

    Raises:
        ConfigError: for objectives that cannot be, and for what does not go together with them.
    """
    if request.objectives is not None and not callable(request.objectives):
        raise ConfigError(f"{METHOD} is {describe(request.objectives)}; define it as a method that returns the list")
    given = None if request.objectives is None else request.objectives(run.unwrapped_model)
    if given is None:
        return request
    objectives = read_objectives(given)
    if type(request.task).loss is not Task.loss or request.task.given["loss"] is not None:
        raise ConfigError(f"the task has both a loss and {METHOD}; put the loss among the objectives, or leave one of them out")
    skipped = refuse_single_loss_plugins(run, request, plugins)
    names_by_objective = owned_names(run.unwrapped_model, objectives)
    own = {objective.name: own_plugins(objective) for objective in objectives}
    views = {
        objective.name: view_of(run, request, objective, own[objective.name], names_by_objective[objective.name])
        for objective in objectives
    }
    sentences = unused_settings(run, list(own.values()))
    if untrained := unowned(run.unwrapped_model, names_by_objective):
        sentences.append(
            f"{METHOD}: no objective moves {listed(untrained)}, which nothing trains then; give each to one, or freeze it"
        )
    settings = {name: {plugin.name: plugin.settings for plugin in each.values()} for name, each in own.items()}
    for composite in COMPOSITES:
        setattr(run.parts, composite.kind, composite(views))
    run.parts.update = CompositeUpdate(views, objectives, names_by_objective, settings, sentences)
    cleanup.callback(run.parts.update.close)
    cleanup.callback(run.parts.precision.release)
    losses = [objective.loss for objective in sorted(objectives, key=lambda each: each.name)]  # of a name in whatever order
    return replace(request, skipped=skipped, code={**request.code, "loss": losses})


def view_of(run: TrainingRun, request: RunRequest, objective: Minimize, own: dict[str, Part], names: Sequence[str]) -> Run:
    """Return the run as the parts of one objective see it, with fresh parts: its own, and copies of the run's."""
    fields = [composite.kind for composite in COMPOSITES]
    parts: dict[str, Any] = {field: own.get(field) or replace(getattr(run.parts, field)) for field in fields}
    parts["precision"].only = frozenset(names)
    parts["update"] = ObjectiveUpdate()
    watches = [copy(watch) for watch in run.watches if hasattr(watch, "before_step")]
    view = Overlay(run, parts=Overlay(run.parts, **parts), loss=request.task_method(objective.loss), watches=watches)
    return cast(Run, view)
