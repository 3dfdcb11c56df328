"""Plugins of a run with several objectives: those of one objective alone, and those that do not go together with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from accel.engine.objectives.minimize import METHOD, Minimize
from accel.engine.request import RunRequest
from accel.engine.select_parts import PART_TYPES, as_list, make_plugin, part_name
from accel.engine.training_run import TrainingRun
from accel.errors import ConfigError
from accel.parts import Clip, Optim, Part

__all__ = ["OWN", "SINGLE", "WORDS", "own_plugins", "refuse_single_loss_plugins", "unused_settings"]

OWN: dict[str, type[Part]] = {"optim": Optim, "clip": Clip}
"""Parts that an objective may have of its own."""
WORDS = {"optim": "an optimiser", "clip": "a clipping"}
"""The same in words."""
SINGLE = {
    "update": "it makes the update of one loss", "probe": "it reads one rate off one loss",
    "objective": "it cannot tell for which of the losses it is",
}  # fmt: skip
"""Parts of which a plugin does not go together with several objectives, and why."""


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
        ConfigError: for such a plugin that was asked for by name, and for ranks that take one loss alone.
    """
    parallel, skipped = run.parts.parallel, dict(request.skipped)
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
