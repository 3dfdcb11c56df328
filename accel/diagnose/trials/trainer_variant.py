"""A trainer with changes that are given as overrides: what a command would compose, made in Python."""

from __future__ import annotations

from copy import copy
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

from accel.diagnose.decision.run_overrides import Overrides
from accel.engine.select_parts import as_list, make_plugin
from accel.errors import ConfigError
from accel.parts import Part
from accel.schema import plugin_registry
from accel.schema.settings import NESTED, Settings

if TYPE_CHECKING:
    from accel.trainer import Trainer

__all__ = ["trainer_variant"]


def trainer_variant(trainer: Trainer, overrides: Overrides) -> Trainer:
    """Return a copy of a trainer with plugins and settings changed as overrides say. The trainer stays as it is.

    It shares model and data with the trainer, shows nothing and writes nothing.

    Args:
        trainer: not started.
        overrides: the changes.

    Raises:
        ConfigError: for a plugin or a setting that there is not.
    """
    settings = overrides.nested
    of_plugins: dict[str, dict[str, Any]] = settings.pop("plugins", {})
    flat: dict[str, Any] = {"out": None, "resume": None, "dry_run": False}
    for key, value in settings.items():
        flat |= {f"{key}_{inner}": each for inner, each in value.items()} if key in NESTED else {key: value}
    if unknown := set(flat) - {setting.name for setting in fields(Settings)}:
        raise ConfigError(f"{min(unknown)} is no setting of a run; the task sets it")
    variant = copy(trainer)
    variant.settings = replace(trainer.settings, **flat)
    plugins = {plugin.name: plugin for plugin in map(make_plugin, as_list("plugins", trainer.plugins))}
    added = [name for name in overrides.plugins if name not in plugins]
    if missing := [name for name in of_plugins if name not in (*plugins, *added)]:
        raise ConfigError(f"{missing[0]} is not on, so that it has no settings; add it")
    made: list[Part] = [type(plugin)(**{**plugin.settings, **of_plugins.get(name, {})}) for name, plugin in plugins.items()]
    variant.plugins = made + [plugin_registry.load(name)(**of_plugins.get(name, {})) for name in added]
    variant.watch = ()
    return variant
