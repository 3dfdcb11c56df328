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
from accel.engine.objectives.objective_update import ObjectiveUpdate, StepRecord
from accel.engine.objectives.overlay import Overlay
from accel.engine.objectives.parameter_owners import owned_names, unowned
from accel.engine.request import RunRequest
from accel.engine.select_parts import PART_TYPES, as_list, make_plugin, part_name
from accel.engine.training_run import TrainingRun
from accel.errors import ConfigError
from accel.parts import Clip, Optim, Part, Run
from accel.parts.shared.trained_parameters import listed

__all__ = [
    "COMPOSITES", "OWN", "SINGLE", "WORDS", "join_objectives", "own_plugins", "refuse_single_loss_plugins", "unused_settings", "view_of"
]  # fmt: skip

COMPOSITES: tuple[type[Composite], ...] = (CompositePrecision, CompositeOptim, CompositeClip, CompositeGuard, CompositeObjective)
OWN: dict[str, type[Part]] = {"optim": Optim, "clip": Clip}
"""Parts that an objective may have of its own."""
WORDS = {"optim": "an optimiser", "clip": "a clipping"}
"""The same in words."""
SINGLE = {"update": "it makes the update of one loss", "probe": "it reads one rate off one loss"}
"""Parts of which a plugin does not go together with several objectives, and why."""


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
    given = None if request.objectives is None else request.objectives(run.unwrapped_model)
    if given is None:
        return request
    objectives = read_objectives(given)
    if request.code.get("loss"):
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
    losses = [objective.loss for objective in objectives]
    return replace(request, skipped=skipped, code={**request.code, "loss": losses})


def view_of(run: TrainingRun, request: RunRequest, objective: Minimize, own: dict[str, Part], names: Sequence[str]) -> Run:
    """Return the run as the parts of one objective see it, with fresh parts: its own, and copies of the run's."""
    fields = [composite.kind for composite in COMPOSITES]
    parts: dict[str, Any] = {field: own.get(field) or replace(getattr(run.parts, field)) for field in fields}
    parts["precision"].only = frozenset(names)
    parts |= {"update": ObjectiveUpdate(), "average": StepRecord()}
    watches = [copy(watch) for watch in run.watches if hasattr(watch, "before_step")]
    view = Overlay(run, parts=Overlay(run.parts, **parts), loss=request.task_method(objective.loss), watches=watches)
    return cast(Run, view)


def own_plugins(objective: Minimize) -> dict[str, Part]:
    """Return the plugins of one objective by the field of their part, fresh copies of what was given.

    Raises:
        ConfigError: for a plugin of another part than an objective may have, and for two of one part.
    """
    where = f"{METHOD}: the plugins of {objective.name}"
    own: dict[str, Part] = {}
    for plugin in map(make_plugin, as_list(where, objective.plugins)):
        field = next((field for field, kind in OWN.items() if isinstance(plugin, kind)), "")
        if not field:
            raise ConfigError(
                f"{where} have a {part_name(plugin)}, {plugin.name}, and may have an Optim and a Clip; give it to the run"
            )
        if field in own:
            raise ConfigError(f"{where} have both {own[field].name} and {plugin.name}, for one part; keep one")
        own[field] = replace(plugin)
    return own


def refuse_single_loss_plugins(run: TrainingRun, request: RunRequest, plugins: list[Part]) -> dict[str, str]:
    """Return the plugins that are left out, each with the reason: those of a bundle that need a single loss are, too.

    Raises:
        ConfigError: for such a plugin that was asked for by name, and for ranks that share the weights.
    """
    parallel, skipped = run.parts.parallel, dict(request.skipped)
    if parallel.mesh is not None or parallel.name == "fsdp":
        raise ConfigError(f"{parallel.name} spreads the weights for the backward pass of one loss; take ddp for several objectives")
    if parallel.world_size > 1 and parallel.settings.get("static_graph"):
        raise ConfigError(
            f"{parallel.name}.static_graph=true is for one loss, which uses the same parameters in each update; leave it out for "
            "several objectives"
        )
    for field, reason in SINGLE.items():
        part = getattr(run.parts, field)
        if type(part) is PART_TYPES[field]:
            continue
        reason = f"{part.name} cannot work with several objectives: {reason}"
        if part.name not in request.bundled:
            raise ConfigError(f"{reason}; leave it out: '~plugins.{part.name}'")
        skipped[part.name] = reason
        plugins.remove(part)
        setattr(run.parts, field, PART_TYPES[field]())
    return skipped


def unused_settings(run: TrainingRun, own: Sequence[dict[str, Part]]) -> list[str]:
    """Return a sentence on each plugin and setting of the run that has no effect, for all objectives have others.

    Args:
        run: the run, with the parts that it was given.
        own: the plugins of each objective.
    """
    parts, parallel = run.parts, run.parts.parallel
    sentences = [
        f"{getattr(parts, field).name} has no effect: every objective has {WORDS[field]} of its own"
        for field, kind in OWN.items()
        if type(getattr(parts, field)) is not kind and all(field in each for each in own)
    ]
    if parallel.world_size > 1:
        names = [name for name in ("bucket_mb", "compress", "find_unused") if name in parallel.settings]
        sentences += [
            f"{parallel.name}.{name} has no effect with several objectives, whose gradients travel after the last backward pass"
            for name in parallel.changed(*names)
        ]
    return sentences
