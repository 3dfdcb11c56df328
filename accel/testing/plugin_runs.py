"""Toy runs with a plugin under test, and the plugins that may stand beside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from accel.engine.select_parts import make_plugin, part_name
from accel.errors import ConfigError
from accel.parts import Part, Watch
from accel.schema import plugin_registry
from accel.testing.toy_run import Toy, ToyResult, cheap, fit_toy

__all__ = ["PluginFactory", "attempt", "attempt_together", "companions", "plugin_name", "unmet_need"]

PluginFactory = Callable[[], Part]
"""The class of a plugin, or a function that makes an instance."""


def unmet_need(plugin: Part) -> str:
    """Return the sentence with which a plugin is refused on this machine's CPU for an unmet need; empty if it is not refused."""
    reasons = ((need, need.unmet_reason(plugin.settings, "cpu")) for need in plugin.needs)
    return next((need.sentence(plugin.name, reason) for need, reason in reasons if reason), "")


def attempt(plugins: list[Part], kind: type[Toy] = Toy, **settings: Any) -> Any:
    """Return the result of a run (`ToyResult`) of the toy or of another task, or the sentence with which it refused."""
    try:
        return fit_toy(plugins, kind=kind, **settings)
    except ConfigError as error:
        return str(error)


def attempt_together(plugins: list[Part], **settings: Any) -> ToyResult | None:
    """Return the result of a run with plugins of different parts; None if they are refused together.

    Raises:
        AssertionError: if the refusal does not name each of them.
    """
    outcome = attempt(plugins, **settings)
    if isinstance(outcome, str):
        assert all(plugin.name in outcome for plugin in plugins), f"the refusal does not name both: {outcome}"
        return None
    result: ToyResult = outcome
    return result


def companions(plugin: Part, names: Sequence[str] | None = None) -> list[PluginFactory]:
    """Return the built-in plugins that may stand beside `plugin`, all or those of `names`, with default or cheap settings."""
    candidates = map(cheap, plugin_registry.names() if names is None else names)
    if isinstance(plugin, Watch):
        return [candidate for candidate in candidates if type(candidate()) is not type(plugin)]
    return [candidate for candidate in candidates if part_name(make_plugin(candidate())) != part_name(plugin)]


def plugin_name(plugin: PluginFactory) -> str:
    """Return the name of a plugin for a sentence."""
    return plugin().name
