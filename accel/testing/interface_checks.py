"""The checks of a plugin that need no run: its class, its settings, its closing."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any

from accel.engine.select_parts import PART_TYPES
from accel.errors import ConfigError
from accel.parts import Part, Watch
from accel.testing.plugin_runs import PluginFactory, plugin_name

__all__ = ["check_close", "check_settings", "refusal"]


def check_settings(plugin: PluginFactory) -> None:
    """Check that the plugin is a dataclass with one part, and refuses a setting of the wrong kind with a sentence."""
    instance = plugin()
    assert isinstance(instance, Part), f"{instance!r} is no Part"
    assert is_dataclass(type(instance)), f"{instance.name} must be a dataclass: decorate it with @dataclass(eq=False)"
    assert type(instance) not in (*PART_TYPES.values(), Watch), f"{instance.name} must be a subclass of its part"
    parts = [kind for kind in (*PART_TYPES.values(), Watch) if isinstance(instance, kind)]
    assert len(parts) == 1, f"{instance.name} provides {len(parts)} parts: {parts}"
    for field in (field for field in fields(instance) if field.init):
        sentence = refusal(type(instance), {**instance.settings, field.name: object()})
        assert sentence, f"{instance.name}.{field.name} takes anything: annotate it with a kind from accel.values"
        assert f"{instance.name}.{field.name}" in sentence, f"the error for {field.name} does not name it: {sentence}"


def check_close(plugin: PluginFactory) -> None:
    """Check that the plugin can be closed without having been set up, so that no second error hides an earlier one."""
    for method in ("restore", "release", "close"):
        close = getattr(plugin(), method, None)
        try:
            if close is not None:
                close()
        except Exception as error:
            raise AssertionError(f"{plugin_name(plugin)}.{method}() fails where setup() was not called: {error!r}") from error


def refusal(kind: type[Part], settings: dict[str, Any]) -> str:
    """Return the sentence with which a plugin refuses its settings; empty if it takes them."""
    try:
        kind(**settings)
    except ConfigError as error:
        return str(error)
    return ""
