"""The model of a run gets its shape, before any part sees it."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch
from torch import nn

from accel.checkpoints.weights.rebuilt_model import changed_inside, rebuild
from accel.checkpoints.weights.weight_names import unwrap
from accel.engine.request import RunRequest
from accel.engine.select_parts import PART_TYPES
from accel.engine.training_run import TrainingRun
from accel.errors import ConfigError
from accel.parts import Part, Shape
from accel.parts.model_shape.model_structure import Structure, kinds_of_run, undone

__all__ = ["rebuild_model", "shape_model"]


def rebuild_model(run: TrainingRun, structure: Structure, setting: str) -> None:
    """Do to the user's model what was done to the one whose weights come next.

    Args:
        run: the run, none of its parts set up.
        structure: of the weights.
        setting: what they were named by, for messages: `init` or `resume`.

    Raises:
        ConfigError: for a model of another make, and where this run has another plugin for the same part.
    """
    shapes = run.parts.shapes()
    for entry in structure:
        plugin = shapes.get(entry["part"])
        if plugin is not None and type(plugin) is not PART_TYPES[entry["part"]] and plugin.name != entry["plugin"]:
            raise ConfigError(
                f"{setting}: the model was shaped by {entry['plugin']}, and {plugin.name} cannot go on from there; leave it out: "
                f"'~plugins.{plugin.name}'"
            )
    try:
        model = rebuild(run.unwrapped_model, structure, kinds_of_run(run))
    except ConfigError as error:
        raise ConfigError(f"{setting}: {error}") from error
    run.unwrapped_model = run.model = model
    run.restored = structure


def shape_model(run: TrainingRun, request: RunRequest, plugins: list[Part]) -> RunRequest:
    """Let each plugin that shapes the model do so, in the order of the parts.

    Args:
        run: the run, its model with the weights that it begins with, none of its parts set up.
        request: what the user asked for.
        plugins: the plugins that are on; one of a bundle that cannot work leaves it.

    Returns:
        The request, with what was left out.
    """
    skipped, kinds = dict(request.skipped), kinds_of_run(run)
    inner, later = undone(unwrap(run.unwrapped_model), run.restored, kinds)
    run.unwrapped_model = run.model = changed_inside(run.unwrapped_model, lambda _: inner)
    structures = {entry["part"]: entry["structure"] for entry in run.restored}
    for name, shape in run.parts.shapes().items():
        try:
            refuse_sharded_changes(run, shape)
            with torch.random.fork_rng(devices=[]):  # a layer more draws its weights, and moves no other random number
                shaped = rebuild_again(run, [entry for entry in later if entry["part"] == name])
                shaped = changed_inside(shaped, partial(shape.model, structure=structures.get(name)))
        except ConfigError as error:
            if shape.name not in request.bundled:
                raise
            skipped[shape.name] = str(error).partition("; ")[0]
            plugins.remove(shape)
            setattr(run.parts, name, PART_TYPES[name]())
            continue
        run.unwrapped_model = run.model = shaped
    return replace(request, skipped=skipped)


def rebuild_again(run: TrainingRun, entries: Structure) -> nn.Module:
    """Return the model with what was taken out of it, so that the parts before would see it as they did at first.

    Raises:
        ConfigError: if a part of this run has changed the same layers meanwhile.
    """
    try:
        return rebuild(run.unwrapped_model, entries, kinds_of_run(run))
    except ConfigError as error:
        first = next((shape.name for shape in run.parts.shapes().values() if shape.structure()), "")
        if not first:
            raise
        raise ConfigError(
            f"{first} changes layers that {entries[0]['plugin']} has shaped in the weights that the run begins with; leave it out: "
            f"'~plugins.{first}'"
        ) from error


def refuse_sharded_changes(run: TrainingRun, shape: Shape) -> None:
    """Raise ConfigError if a plugin may change the model between two updates, and the ranks share its weights."""
    parallel = run.parts.parallel
    if parallel.shards and parallel.world_size > 1 and shape.changes_shape():
        raise ConfigError(
            f"{shape.name} changes the model between two updates, and {parallel.name} has its weights in shards; take ddp in its "
            "place"
        )
