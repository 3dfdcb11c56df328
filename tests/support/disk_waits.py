"""Tests wait for no disk: what a process has written outlives it when it is killed, and no test cuts the power."""

from __future__ import annotations

import os
from typing import Any


def skip_disk_waits() -> None:
    """Let `os.fsync` check that a file is open, and no more, in this process and its forks."""
    os.fsync = _fsync


def _fsync(file: Any) -> None:
    os.fstat(file if isinstance(file, int) else file.fileno())
