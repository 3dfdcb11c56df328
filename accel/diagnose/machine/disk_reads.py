"""Bytes that this process has had read from a disk, because they were not in the system's cache of files."""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ["IO", "disk_bytes"]

IO = Path("/proc/self/io")


def disk_bytes() -> int:
    """Return the bytes that came from a disk for this process and its children that have ended; 0 if the system does not tell.

    Source: `read_bytes` of proc_pid_io(5).
    """
    try:
        match = re.search(r"^read_bytes: (\d+)$", IO.read_text(), re.MULTILINE)
    except OSError:
        return 0
    return int(match[1]) if match else 0
