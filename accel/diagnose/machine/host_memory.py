"""Memory of this machine: what is free, what is swapped out, and what processes can share."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from accel.system import free_space

__all__ = ["SHARED", "STATUS", "HostMemory", "read_memory"]

SHARED = Path("/dev/shm")
STATUS = Path("/proc/self/status")


@dataclass(frozen=True)
class HostMemory:
    """Memory of this machine in bytes, within the limits of containers; None where the system does not tell.

    Args:
        total: that there is.
        free: that nothing uses.
        swapped: of the whole machine that lie in the swap.
        own_swapped: of this process that lie in the swap.
        shared: free in /dev/shm, through which worker processes send batches.
    """

    total: int | None
    free: int | None
    swapped: int | None
    own_swapped: int | None
    shared: int | None


def read_memory() -> HostMemory:
    """Return the memory of this machine as it is now."""
    sizes = _kilobytes(free_space.MEMORY)
    swapped = sizes["SwapTotal"] - sizes["SwapFree"] if {"SwapTotal", "SwapFree"} <= sizes.keys() else None
    shared = shutil.disk_usage(SHARED).free if SHARED.is_dir() else None
    own = _kilobytes(STATUS).get("VmSwap")
    return HostMemory(free_space.total_memory(), free_space.free_memory(), swapped, own, shared)


def _kilobytes(file: Path) -> dict[str, int]:
    """Return the sizes that a file of /proc lists in kB, in bytes, by name; empty if it cannot be read."""
    try:
        return {name: 1024 * int(size) for name, size in re.findall(r"^(\w+):\s*(\d+) kB", file.read_text(), re.MULTILINE)}
    except OSError:
        return {}
