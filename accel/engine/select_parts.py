"""Selection of the parts of a run, from a list of plugins in any order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import get_type_hints

from accel.errors import ConfigError, conflict
from accel.parts import Part, Parts, Watch
from accel.schema import plugin_registry

__all__ = ["PART_TYPES", "make_plugin", "part_name", "select_parts"]

PART_TYPES = get_type_hints(Parts)


def select_parts(plugins: Sequence[Part | str], default: Sequence[Part | str] = ()) -> tuple[Parts, list[Watch]]:
    """Return the parts, with each plugin in its place and the plainest part in every other, and the watches, sorted by name.

    Args:
        plugins: instances, or names that stand for plugins with their default settings.
        default: watches that are on without being asked for; one gives way to a plugin of the same name.

    Raises:
        ConfigError: for two plugins of one part, a plugin given twice, or something that is no plugin.
    """
    instances = [make_plugin(plugin) for plugin in plugins]
    watches: dict[str, Watch] = {}
    for plugin in instances:
        if isinstance(plugin, Watch):
            if plugin.name in watches:
                raise ConfigError(f"the watch {plugin.name} is given twice; keep one")
            watches[plugin.name] = plugin
    for plugin in map(make_plugin, default):
        if isinstance(plugin, Watch):
            watches.setdefault(plugin.name, plugin)
    chosen: dict[str, Part] = {}
    for field in fields(Parts):
        kind = PART_TYPES[field.name]
        rivals = sorted((plugin for plugin in instances if isinstance(plugin, kind)), key=lambda plugin: plugin.name)
        if len(rivals) > 1:
            raise ConfigError(conflict([plugin.name for plugin in rivals], kind.__name__))
        if rivals:
            chosen[field.name] = rivals[0]
    return Parts(**chosen), [watches[name] for name in sorted(watches)]  # type: ignore[arg-type]


def make_plugin(plugin: Part | str) -> Part:
    """Return the plugin itself, or the plugin of that name with its default settings. Raise ConfigError for anything else."""
    if isinstance(plugin, str):
        plugin = plugin_registry.load(plugin)()
    if not isinstance(plugin, Part) or type(plugin) in (*PART_TYPES.values(), Watch, Part):
        name = plugin.__name__ if isinstance(plugin, type) else type(plugin).__name__
        hint = f"; write {name}()" if isinstance(plugin, type) and issubclass(plugin, Part) else ""
        raise ConfigError(f"{name} is not a plugin: an instance of a subclass of one part{hint}")
    return plugin


def part_name(plugin: Part) -> str:
    """Return the name of the part that a plugin provides, such as `Optim`."""
    return next((kind.__name__ for kind in (*PART_TYPES.values(), Watch) if isinstance(plugin, kind)), "Part")
