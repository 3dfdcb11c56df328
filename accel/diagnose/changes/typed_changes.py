"""Changes in the form in which they are typed: overrides of the command line, or arguments in Python."""

from __future__ import annotations

from typing import Any

from accel.diagnose.decision.run_overrides import Overrides
from accel.engine.training_run import TrainingRun
from accel.schema import plugin_registry
from accel.system.shell_quoting import command_line

__all__ = ["in_python", "plugin_overrides"]


def plugin_overrides(plugin: str, settings: dict[str, Any], is_on: bool) -> Overrides:
    """Return the overrides that switch a plugin on, unless it is on, and give it settings.

    >>> plugin_overrides("backend", {"threads": 2}, is_on=False).words
    ('+plugins=[backend]', 'plugins.backend.threads=2')
    """
    return Overrides(() if is_on else (plugin,), tuple((f"plugins.{plugin}.{name}", value) for name, value in settings.items()))


def in_python(run: TrainingRun, plugin: str, settings: dict[str, Any], overrides: Overrides) -> str:
    """Return what is typed: words for a shell if the run was started there, else the plugin as it is given in Python."""
    if run.command:
        return command_line(overrides.words)
    if not settings:
        return f"plugins=[{plugin!r}]"
    name = plugin_registry.load(plugin).__name__
    return f"plugins=[{name}({', '.join(f'{key}={value!r}' for key, value in settings.items())})]"
