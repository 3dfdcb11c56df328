"""The checks of a plugin that need no run: its class, its settings, its closing."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any

from accel.engine.select_parts import PART_TYPES
from accel.errors import ConfigError
from accel.parts import Part, Watch
from accel.testing.plugin_runs import PluginFactory, plugin_name


def check_settings(plugin: PluginFactory) -> None:
    """It is a dataclass that provides one part, and refuses a setting of the wrong kind with a sentence."""
    made = plugin()
    assert isinstance(made, Part), f"{made!r} is no Part"
    assert is_dataclass(type(made)), f"{made.name} must be a dataclass: decorate it with @dataclass(eq=False)"
    assert type(made) not in (*PART_TYPES.values(), Watch), f"{made.name} must be a subclass of its part"
    kinds = [kind for kind in (*PART_TYPES.values(), Watch) if isinstance(made, kind)]
    assert len(kinds) == 1, f"{made.name} provides {len(kinds)} parts: {kinds}"
    for field in (field for field in fields(made) if field.init):
        said = refusal(type(made), {**made.settings, field.name: object()})
        assert said, f"{made.name}.{field.name} takes anything: annotate it with a kind from accel.values"
        assert f"{made.name}.{field.name}" in said, f"the error for {field.name} does not name it: {said}"


def check_close(plugin: PluginFactory) -> None:
    """It can be closed without having been set up: what fails before must be heard, and not what fails over it."""
    for method in ("restore", "release", "close"):
        close = getattr(plugin(), method, None)
        try:
            if close is not None:
                close()
        except Exception as error:
            raise AssertionError(f"{plugin_name(plugin)}.{method}() fails where setup() was not called: {error!r}") from error


def refusal(kind: type[Part], settings: dict[str, Any]) -> str:
    """The sentence with which a plugin refuses its settings; empty where it takes them."""
    try:
        kind(**settings)
    except ConfigError as error:
        return str(error)
    return ""
