"""Memory that processes share by a file descriptor, freed by the system when the last of them ends, however it ends."""

from __future__ import annotations

import os
import tempfile

__all__ = ["anonymous_file"]


def anonymous_file(name: str) -> int:
    """Return the descriptor of an empty file without a path: in memory if the system can, else in the folder for temporary files.

    Args:
        name: shown in /proc, for people.
    """
    if hasattr(os, "memfd_create"):
        return os.memfd_create(f"accel-{name}")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
