"""Shorter waits of a rank for others, in cases in which they will not come: they read why from the store all the same."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

from accel.parts.shared import process_group
from accel.parts.shared.ranks import end_group


@contextmanager
def short_farewell(seconds: float = 1.0) -> Iterator[None]:
    """Let a rank that has failed wait so long at most until the others have heard why. The tests serve the store, which stays."""
    with mock.patch.object(process_group, "FAREWELL", seconds), mock.patch.object(end_group, "FAREWELL", seconds):
        yield
