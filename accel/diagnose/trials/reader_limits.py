"""How many readers a machine bears: cores, memory and /dev/shm, within the limits of its containers."""

from __future__ import annotations

import re
from multiprocessing import active_children
from pathlib import Path

from accel.data.batches.mapped import MapBatches
from accel.diagnose.machine.host_memory import HostMemory
from accel.parts import Loader
from accel.report.formatting import size

__all__ = ["MOST_READERS", "PROC", "SPARE", "first_count", "most_readers", "private_bytes"]

MOST_READERS = 64
"""Readers that are tried, at most; more where there are more cores. Those that wait for a disk need no core."""
SPARE = 2
"""Only one part in so many of what is free is taken."""
PROC = Path("/proc")


def first_count(cores: int, ranks: int) -> int:
    """Return the readers to begin with: one for each core that a rank can keep busy.

    Args:
        cores: that the ranks on this machine can keep busy, within their quota.
        ranks: on this machine.
    """
    return max(1, cores // ranks)


def most_readers(
    loader: Loader, batches: MapBatches, batch_bytes: int, memory: HostMemory, cores: int, ranks: int
) -> tuple[int, str]:  # fmt: skip
    """Return the highest number of readers, and what makes it the highest, in words.

    A thread takes no memory to speak of. A process takes its own (as much as those that are at work now take) and the batches that
    it reads ahead, which go through /dev/shm where the data set does not write them into given memory. Ranks share what is free.

    Args:
        loader: the plugin `threads` or `workers`, whose readers are at work.
        batches: the training data.
        batch_bytes: of a batch.
        memory: of the machine.
        cores: that the ranks of this machine can keep busy.
        ranks: on this machine.
    """
    bounds = [(max(MOST_READERS, 2 * cores) // ranks, f"{max(MOST_READERS, 2 * cores)} are the most that are tried")]
    if loader.name == "workers":
        now, ahead = getattr(loader, "reader_count", 1), getattr(loader, "prefetch_factor", 1) * batch_bytes
        each = ahead + private_bytes() // max(1, now)
        if memory.free is not None and each:
            more = memory.free // SPARE // ranks // each
            bounds.append((now + more, f"each takes {size(each)} of memory, of which {size(memory.free)} are free"))
        if memory.shared is not None and not batches.has_fill and ahead:
            fitting = memory.shared // SPARE // ranks // ahead
            bounds.append((fitting, f"each sends {size(ahead)} through /dev/shm, where {size(memory.shared)} are free"))
    most, bound = min(bounds)
    return max(1, most), bound


def private_bytes() -> int:
    """Return the bytes of memory that processes which this one has started share with none; 0 where the system does not tell."""
    total = 0
    for process in active_children():
        try:
            text = (PROC / str(process.pid) / "smaps_rollup").read_text()
        except OSError:
            continue
        total += sum(1024 * int(number) for number in re.findall(r"^Private_(?:Clean|Dirty):\s+(\d+) kB", text, re.MULTILINE))
    return total
