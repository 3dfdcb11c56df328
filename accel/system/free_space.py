"""Memory and disk that nothing uses."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

__all__ = ["CGROUP_FILES", "CGROUP_ROOT", "free_disk", "free_memory"]

CGROUP_FILES = (
    ("memory.max", "memory.current", "memory.stat"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat"),
)
"""The files of a container's limit, of its use, and of the file cache in that use: cgroup version 2, then version 1."""
CGROUP_ROOT = Path("/sys/fs/cgroup")


def free_memory() -> int | None:
    """Return the bytes of memory that nothing uses, within a container's limit too; None if the system does not tell."""
    try:
        available = re.search(r"^MemAvailable:\s*(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
    except OSError:
        return None
    limits = [1024 * int(available[1])] if available else []
    for limit, use, stat in CGROUP_FILES:
        try:
            files = re.search(r"^(?:total_)?inactive_file (\d+)", (CGROUP_ROOT / stat).read_text(), re.MULTILINE)
            limits.append(
                int((CGROUP_ROOT / limit).read_text()) - int((CGROUP_ROOT / use).read_text()) + (int(files[1]) if files else 0)
            )
        except (OSError, ValueError):  # no such version, or no limit ("max")
            continue
    return max(0, min(limits)) if limits else None


def free_disk(folder: Path) -> int:
    """Return the free bytes of the disk where `folder` is, or is to be created."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free
