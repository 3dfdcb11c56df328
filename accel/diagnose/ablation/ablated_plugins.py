"""Plugins that an ablation leaves out: one by one, or several together that make no sense apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from accel.errors import ConfigError, nearest
from accel.parts import Augment, Average, Backend, Clip, Group, Objective, Optim, Part, Rate, Schedule, Shape

__all__ = ["RECIPE", "Candidate", "candidates", "judged_by", "needs_process"]

Candidate = tuple[str, ...]
"""Names of plugins that are left out together."""
RECIPE: tuple[type[Part], ...] = (Augment, Average, Clip, Group, Objective, Optim, Rate, Schedule, Shape)
"""Parts that change what is learnt from the same updates. Their plugins are judged by the loss after equal time."""


def candidates(plugins: Mapping[str, Part], together: Sequence[Sequence[str]]) -> list[Candidate]:
    """Return what is left out in turn, in the order of the plugins.

    Args:
        plugins: of the run, by name.
        together: names of plugins that belong together.

    Raises:
        ConfigError: if there is no plugin, a name is none of them, or is in two places, and for names that are in no group.
    """
    if not plugins:
        raise ConfigError("there is no plugin to leave out; name some, such as '+plugins=[amp,channels_last]'")
    if isinstance(together, str) or any(isinstance(names, str) for names in together):
        raise ConfigError(f"together is a list of groups of names, such as [('onecycle', 'lamb')], not {together!r}")
    groups = [tuple(names) for names in together]
    for name in (name for names in groups for name in names):
        if name not in plugins:
            hint = nearest(name, plugins) or f"; there is {', '.join(plugins)}"
            raise ConfigError(f"together: {name} is no plugin of this run{hint}")
        if sum(names.count(name) for names in groups) > 1:
            raise ConfigError(f"together: {name} is named twice; name it once")
    group_of = {name: names for names in groups for name in names}
    return list(dict.fromkeys(group_of.get(name, (name,)) for name in plugins))


def judged_by(candidate: Candidate, plugins: Mapping[str, Part]) -> Literal["speed", "loss"]:
    """Return what decides on plugins: the loss after equal time if one of them changes the recipe, else the speed."""
    return "loss" if any(isinstance(plugins[name], RECIPE) for name in candidate) else "speed"


def needs_process(candidate: Candidate, plugins: Mapping[str, Part]) -> bool:
    """Return whether runs with and without these plugins cannot be in one process."""
    return any(isinstance(plugins[name], Backend) for name in candidate)
