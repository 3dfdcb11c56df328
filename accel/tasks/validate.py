"""The check that a task's settings get when it is made in Python; the command line makes the same one from the source text."""

from __future__ import annotations

from typing import Any, get_type_hints

from accel.values import check_value

__all__ = ["validate"]


def validate(task: type[Any], **settings: Any) -> None:
    """Holds `settings` against the annotations of `task.__init__` (kinds of `accel.values`).

    Raises:
        ConfigError: for the first that does not fit, naming it as the command line does, `task.<name>`.
    """
    hints = get_type_hints(task.__init__, include_extras=True)
    for name, value in settings.items():
        check_value(f"task.{name}", value, hints[name])
