"""Memory and disk that nothing uses."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

__all__ = ["CGROUP_FILES", "CGROUP_ROOT", "MEMORY", "OWN_CGROUP", "control_groups", "free_disk", "free_memory", "total_memory"]

CGROUP_FILES = (
    ("", "memory.max", "memory.current", "memory.stat"),
    ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "memory.stat"),
)
"""For version 2 of cgroups, then version 1: controller, and the files of a limit, of its use, and of the file cache in that use."""
CGROUP_ROOT = Path("/sys/fs/cgroup")
OWN_CGROUP = Path("/proc/self/cgroup")
MEMORY = Path("/proc/meminfo")


def free_memory() -> int | None:
    """Return the bytes of memory that nothing uses, within the limits of containers too; None if the system does not tell."""
    return min((free for _, free in _memory()), default=None)


def total_memory() -> int | None:
    """Return the bytes of memory that there are: of the machine, or within the least limit of a container."""
    return min((total for total, _ in _memory()), default=None)


def _memory() -> list[tuple[int, int]]:
    """Return total and free bytes of the machine, and of each container that this process is in and that has a limit."""
    try:
        kilobytes = dict(re.findall(r"^(\w+):\s*(\d+) kB", MEMORY.read_text(), re.MULTILINE))
    except OSError:
        return []
    names = ("MemTotal", "MemAvailable")
    sizes = [(1024 * int(kilobytes[names[0]]), 1024 * int(kilobytes[names[1]]))] if set(names) <= kilobytes.keys() else []
    for folder, limit_file, use_file, stat_file in _cgroups():
        try:
            files = re.search(r"^(?:total_)?inactive_file (\d+)", (folder / stat_file).read_text(), re.MULTILINE)
            limit, use = int((folder / limit_file).read_text()), int((folder / use_file).read_text())
        except (OSError, ValueError):  # no such version, or no limit ("max")
            continue
        sizes.append((limit, max(0, limit - use + (int(files[1]) if files else 0))))
    return sizes


def _cgroups() -> list[tuple[Path, str, str, str]]:
    """Return the folders of the control groups that this process is in, from the root to its own, each with its files."""
    return [(folder, limit, use, stat) for controller, limit, use, stat in CGROUP_FILES for folder in control_groups(controller)]


def control_groups(controller: str) -> list[Path]:
    """Return the folders of the control groups that this process is in, from the root to its own.

    Args:
        controller: of version 1, such as `memory` or `cpu`; empty for version 2, which has one tree for all.
    """
    try:
        lines = [line.split(":", 2) for line in OWN_CGROUP.read_text().splitlines()]
    except OSError:
        lines = []
    own = next((Path(path) for _, names, path in lines if controller in names.split(",")), Path("/"))
    return [CGROUP_ROOT / controller / path.relative_to("/") for path in [*reversed(own.parents), own]]


def free_disk(folder: Path) -> int:
    """Return the free bytes of the disk where `folder` is, or is to be created."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free
