"""Toy runs with a plugin under test, and the plugins that may stand beside it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from accel.engine.select_parts import make_plugin, part_name
from accel.errors import ConfigError
from accel.parts import Part, Watch
from accel.schema import plugin_registry
from accel.testing.toy_run import cheap, fit_toy

PluginFactory = Callable[[], Part]
"""The class of a plugin, or a function that makes an instance."""


def unmet_need(made: Part) -> str:
    """The sentence with which a plugin is refused on the CPU of this machine for what it needs; empty where it is not."""
    reasons = ((need, need.unmet_reason(made.settings, "cpu")) for need in made.needs)
    return next((need.sentence(made.name, reason) for need, reason in reasons if reason), "")


def attempt(plugins: list[Part]) -> Any:
    """The outcome of a run, or the sentence with which it refused."""
    try:
        return fit_toy(plugins)
    except ConfigError as error:
        return str(error)


def are_incompatible(plugins: list[Part]) -> bool:
    """Whether these plugins of different parts cannot stand together; then a sentence names each of them."""
    outcome = attempt(plugins)
    if isinstance(outcome, str):
        assert all(plugin.name in outcome for plugin in plugins), f"the refusal does not name both: {outcome}"
    return isinstance(outcome, str)


def companions(made: Part) -> list[PluginFactory]:
    """Every built-in plugin that may stand beside `made`, with default settings or cheap ones."""
    others = map(cheap, plugin_registry.names())
    if isinstance(made, Watch):
        return [other for other in others if type(other()) is not type(made)]
    return [other for other in others if part_name(make_plugin(other())) != part_name(made)]


def plugin_name(plugin: PluginFactory) -> str:
    """What to call it in a sentence."""
    return plugin().name
