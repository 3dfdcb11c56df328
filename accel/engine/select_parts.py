"""Selection of the parts of a run, from a list of plugins in any order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any, get_type_hints

from torch import nn

from accel.errors import ConfigError, conflict, describe
from accel.parts import Part, Parts, Watch
from accel.schema import plugin_registry
from accel.schema.no_plugin import refusal_of
from accel.system.calls.call_arguments import check_arguments, signature_of_method

__all__ = ["PART_TYPES", "as_list", "make_plugin", "part_name", "plugin_parts", "select_parts"]

PART_TYPES = get_type_hints(Parts)


def select_parts(plugins: Sequence[Part | str], default: Sequence[Part | str] = ()) -> tuple[Parts, list[Watch]]:
    """Return the parts, with each plugin in its place and the plainest part in every other, and the watches, sorted by name.

    Args:
        plugins: instances, or names that stand for plugins with their default settings.
        default: watches that are on without being asked for; one gives way to a plugin of the same name.

    Raises:
        ConfigError: for two plugins of one part, a plugin given twice, or something that is no plugin.
    """
    given = as_list("plugins", plugins)
    instances = [make_plugin(plugin, [name for name in given if isinstance(name, str)]) for plugin in given]
    watches: dict[str, Watch] = {}
    for plugin in instances:
        if isinstance(plugin, Watch):
            if plugin.name in watches:
                raise ConfigError(f"the watch {plugin.name} is given twice; keep one")
            watches[plugin.name] = plugin
    for plugin in map(make_plugin, as_list("watch", default)):
        if isinstance(plugin, Watch):
            watches.setdefault(plugin.name, plugin)
    chosen: dict[str, Part] = {}
    for field in fields(Parts):
        kind = PART_TYPES[field.name]
        rivals = sorted((plugin for plugin in instances if isinstance(plugin, kind)), key=lambda plugin: plugin.name)
        if len({plugin.name for plugin in rivals}) < len(rivals):
            raise ConfigError(f"the plugin {rivals[0].name} is given twice; keep one")
        if len(rivals) > 1:
            raise ConfigError(conflict([plugin.name for plugin in rivals], kind.__name__))
        if rivals:
            chosen[field.name] = rivals[0]
    return Parts(**chosen), [watches[name] for name in sorted(watches)]  # type: ignore[arg-type]


def as_list(argument: str, plugins: Any) -> list[Any]:
    """Return the plugins given in an argument of the Trainer, as a list. Raise ConfigError for one plugin alone, or none."""
    if isinstance(plugins, Iterable) and not isinstance(plugins, str | bytes | Mapping | nn.Module):
        return list(plugins)
    shown = repr(plugins) if isinstance(plugins, str) else describe(plugins)
    word = repr(plugins) if isinstance(plugins, str) else f"{getattr(plugins, '__name__', type(plugins).__name__)}()"
    example = f"[{word}]" if isinstance(plugins, str | Part | type) else "[AMP(), 'ema']"
    raise ConfigError(f"{argument} must be a list of plugins, such as {example}, not {shown}")


def make_plugin(plugin: Part | str, on: Sequence[str] = ()) -> Part:
    """Return the plugin itself, or the plugin of that name with its default settings. Raise ConfigError for anything else.

    Args:
        plugin: an instance, or a name.
        on: names that are given already, which no wrong name can stand for.
    """
    if isinstance(plugin, str):
        cls = plugin_registry.load(plugin, [name for name in on if name != plugin])
        check_arguments(cls.__name__, signature_of_method(cls.__init__), (), {})
        plugin = cls()
    if not isinstance(plugin, Part) or type(plugin) in (*PART_TYPES.values(), Watch, Part):
        raise ConfigError(refusal_of(plugin))
    return plugin


def part_name(plugin: Part) -> str:
    """Return the name of the part that a plugin provides, such as `Optim`."""
    return next((kind.__name__ for kind in (*PART_TYPES.values(), Watch) if isinstance(plugin, kind)), "Part")


def plugin_parts(parts: Parts) -> list[Part]:
    """Return the parts that are plugins, in order: a plainest implementation, such as that of compile, is none that is on."""
    return [part for part in parts.all() if type(part) not in PART_TYPES.values()]
