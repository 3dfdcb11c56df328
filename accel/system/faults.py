"""Fault points: named places in saving, resuming and evaluating, and in changes of the model, where a drill may strike.

Otherwise nothing happens there.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

__all__ = ["VARIABLE", "arm", "armed", "point"]

VARIABLE = "ACCEL_FAULT"
"""`NAME` or `NAME:N`: the process is killed (SIGKILL) when it passes the fault point NAME for the Nth time (default 1)."""

armed: dict[str, Callable[[], None]] = {}
"""The action at a fault point, by its name; a drill in this process may add to it."""


def point(name: str) -> None:
    """Pass a fault point. None lies inside an update, so a run without a drill pays nothing for them."""
    if armed and name in armed:
        armed[name]()


def arm(text: str) -> None:
    """Arm the fault point that `text` names, in the form of `VARIABLE`."""
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
