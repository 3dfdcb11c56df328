"""How much memory and disk nobody uses."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

CGROUP_FILES = (
    ("memory.max", "memory.current", "memory.stat"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat"),
)
"""Where a container's limit stands, what is used of it, and how much of that is a cache of files: of version 2, and of 1."""
CGROUP_ROOT = Path("/sys/fs/cgroup")


def free_memory() -> int | None:
    """Bytes of memory that nothing uses, inside the limit of a container too; None where the system does not tell."""
    try:
        found = re.search(r"^MemAvailable:\s*(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
    except OSError:
        return None
    limits = [1024 * int(found[1])] if found else []
    for limit, used, stat in CGROUP_FILES:
        try:
            files = re.search(r"^(?:total_)?inactive_file (\d+)", (CGROUP_ROOT / stat).read_text(), re.MULTILINE)
            limits.append(
                int((CGROUP_ROOT / limit).read_text()) - int((CGROUP_ROOT / used).read_text()) + (int(files[1]) if files else 0)
            )
        except (OSError, ValueError):  # no such version, or no limit ("max")
            continue
    return max(0, min(limits)) if limits else None


def free_disk(folder: Path) -> int:
    """Bytes that are free where `folder` is, or is to be made."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free
