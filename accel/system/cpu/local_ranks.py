"""Ranks that share this machine, and the cores of each."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from accel.system.machine import cores

__all__ = [
    "BINDINGS", "COUNTS", "NUMBERS", "RANK_CORES", "TASKS", "TOPOLOGY", "RankCores", "core_share", "local_rank", "local_ranks",
    "neighbours_first",
]  # fmt: skip

COUNTS = ("LOCAL_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS", "WORLD_SIZE")
"""Variables that tell the number of ranks on this machine, the first one set; the last counts those of all machines."""
NUMBERS = ("LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID", "RANK")
"""Variables that tell the number of this rank on its machine."""
BINDINGS = ("GOMP_CPU_AFFINITY", "OMP_PROC_BIND", "OMP_PLACES", "KMP_AFFINITY")
"""Variables by which the user has bound OpenMP's threads to cores."""
TOPOLOGY = Path("/sys/devices/system/cpu")
TASKS = Path("/proc/self/task")


def local_ranks(environ: Mapping[str, str] = os.environ) -> int:
    """Return the number of ranks on this machine; 1 if nothing tells of others."""
    return max(1, _number(environ, COUNTS, 1))


def local_rank(environ: Mapping[str, str] = os.environ) -> int:
    """Return the number of this rank among those on this machine, from 0."""
    return _number(environ, NUMBERS, 0) % local_ranks(environ)


def core_share(allowed: Sequence[int], rank: int, ranks: int) -> list[int]:
    """Return the cores of one rank: neighbours, as many for each rank, one more for the first ranks if some are left over.

    Args:
        allowed: cores of all ranks together, neighbours side by side.
        rank: from 0.
        ranks: on this machine; empty shares if there are more of them than cores.

    >>> [core_share([0, 4, 1, 5, 2], rank, 2) for rank in (0, 1)]
    [[0, 4, 1], [5, 2]]
    """
    if ranks > len(allowed):
        return []
    size, more = divmod(len(allowed), ranks)
    start = rank * size + min(rank, more)
    return list(allowed[start : start + size + (rank < more)])


def neighbours_first(allowed: Sequence[int]) -> list[int]:
    """Return the cores ordered by socket and physical core, so that the threads of one core are side by side."""

    def place(core: int) -> tuple[int, int, int]:
        folder = TOPOLOGY / f"cpu{core}/topology"
        try:
            return int((folder / "physical_package_id").read_text()), int((folder / "core_id").read_text()), core
        except (OSError, ValueError):
            return 0, core, core

    return sorted(allowed, key=place)


class RankCores:
    """The cores of this rank: all that the process may use, unless it was given its share."""

    def __init__(self) -> None:
        self.is_split = False

    def move(self, cores: Sequence[int], is_split: bool) -> None:
        """Let all threads of this process run on `cores` alone; threads that they start follow. Linux only.

        A thread that ends meanwhile is passed over. Raises OSError if the system allows none of the cores.
        """
        os.sched_setaffinity(0, cores)
        for task in TASKS.glob("[0-9]*"):
            try:
                os.sched_setaffinity(int(task.name), cores)
            except ProcessLookupError:
                continue
        self.is_split = is_split

    def count(self) -> int:
        """Return how many cores this rank has for itself: its share, or as many as if the cores had been divided; at least one."""
        return cores() if self.is_split else max(1, cores() // local_ranks())

    def describe(self) -> str:
        """Return in words where the number comes from."""
        ranks = local_ranks()
        return "one for each core" if ranks == 1 else f"one for each core of this rank, and {ranks} ranks are on this machine"


RANK_CORES = RankCores()
"""The cores of this process."""


def _number(environ: Mapping[str, str], names: Sequence[str], default: int) -> int:
    text = next((environ[name] for name in names if environ.get(name, "").isdigit()), "")
    return int(text) if text else default
