"""Memory that processes share by a file descriptor, and that goes back to the system with the last of them, however it ends."""

from __future__ import annotations

import os
import tempfile

__all__ = ["anonymous_file"]


def anonymous_file(name: str) -> int:
    """The descriptor of an empty file without a path: in memory where the system can, else in the folder for temporary files.

    Args:
        name: for who looks into /proc.
    """
    if hasattr(os, "memfd_create"):
        return os.memfd_create(f"accel-{name}")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
