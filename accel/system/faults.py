"""Named places in saving, resuming and evaluating where a drill may strike; nothing happens there otherwise."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

__all__ = ["VARIABLE", "arm", "armed", "point"]

VARIABLE = "ACCEL_FAULT"
"""`NAME` or `NAME:N`: the process is killed (SIGKILL) when it passes the place of that name for the Nth time (default 1)."""

armed: dict[str, Callable[[], None]] = {}
"""What happens at a place, by its name; a drill in this process may add to it."""


def point(name: str) -> None:
    """A place that a drill can name. No place is inside an update, so that a run which is not drilled pays nothing for it."""
    if armed and name in armed:
        armed[name]()


def arm(text: str) -> None:
    """Arms the place that `text` names, as the variable gives it."""
    name, _, count = text.partition(":")
    left = int(count or 1)

    def strike() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    armed[name] = strike


if VARIABLE in os.environ:
    arm(os.environ[VARIABLE])
