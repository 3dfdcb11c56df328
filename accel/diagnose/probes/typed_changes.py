"""Changes in the form in which they are typed: overrides of the command line, or arguments in Python."""

from __future__ import annotations

from typing import Any

from accel.engine.training_run import TrainingRun
from accel.report.formatting import setting
from accel.schema import plugin_registry
from accel.system.shell_quoting import command_line

__all__ = ["in_python", "override_words", "yaml_value"]


def override_words(plugin: str, settings: dict[str, Any], is_on: bool) -> tuple[str, ...]:
    """Return the overrides that switch a plugin on, unless it is on, and give it settings.

    >>> override_words("backend", {"threads": 2}, is_on=False)
    ('+plugins=[backend]', 'plugins.backend.threads=2')
    """
    switch = () if is_on else (f"+plugins=[{plugin}]",)
    return switch + tuple(f"plugins.{plugin}.{name}={yaml_value(value)}" for name, value in settings.items())


def yaml_value(value: Any) -> str:
    """Return a value as an override has it: `true`, `2`, `{fused:true}`."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{name}:{yaml_value(inner)}" for name, inner in value.items()) + "}"
    return setting(value)


def in_python(run: TrainingRun, plugin: str, settings: dict[str, Any], words: tuple[str, ...]) -> str:
    """Return what is typed: the words for a shell if the run was started there, else the plugin as it is given in Python."""
    if run.command:
        return command_line(words)
    if not settings:
        return f"plugins=[{plugin!r}]"
    name = plugin_registry.load(plugin).__name__
    return f"plugins=[{name}({', '.join(f'{key}={value!r}' for key, value in settings.items())})]"
