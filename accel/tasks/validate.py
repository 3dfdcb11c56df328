"""Validation of a task's settings in Python; the command line validates them from the source text."""

from __future__ import annotations

from typing import Any, get_type_hints

from accel.values import check_value

__all__ = ["validate"]


def validate(task: type[Any], **settings: Any) -> None:
    """Check `settings` against the annotations of `task.__init__` (kinds of `accel.values`).

    Raises:
        ConfigError: If a setting does not fit; the first is named as on the command line, `task.<name>`.
    """
    hints = get_type_hints(task.__init__, include_extras=True)
    for name, value in settings.items():
        check_value(f"task.{name}", value, hints[name])
