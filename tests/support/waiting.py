"""Waiting for an event, however long a busy machine takes over it."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic, sleep

DEADLINE = 120.0
"""Seconds after which a test counts as hanging. No test is meant to come near it."""


def wait_until(happened: Callable[[], object], event: str | Callable[[], str], deadline: float = DEADLINE) -> None:
    """Return once `happened()` is true.

    Args:
        happened: called again and again.
        event: in words, for the failure; or a function that tells, asked only then.
        deadline: seconds.

    Raises:
        AssertionError: if the event does not come.
    """
    end = monotonic() + deadline
    while not happened():
        assert monotonic() < end, f"waited {deadline:g} seconds for {event if isinstance(event, str) else event()}"
        sleep(0.001)
