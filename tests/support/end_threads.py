"""Threads of torch's that a process has."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path


def gloo_threads() -> int:
    """How many carry tensors of process groups."""
    count = 0
    for file in Path("/proc/self/task").glob("*/comm"):
        with suppress(OSError):
            count += "gloo" in file.read_text()
    return count
