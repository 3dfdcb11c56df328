"""How long this process's threads have waited for a core: while they could run, and something else did."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter

__all__ = ["RunDelay"]


class RunDelay:
    """Measurement of the time that the threads of this process wait for a core, from its making on.

    It counts whatever takes the cores: other programs, other ranks, worker processes and this process's own threads.
    Source: the second number of /proc/PID/task/TID/schedstat, in nanoseconds; sched-stats.rst of the Linux kernel.
    """

    def __init__(self) -> None:
        self.since, self.delays = perf_counter(), delays()

    @property
    def seconds(self) -> float:
        """Seconds since its making, or since the last `share`."""
        return perf_counter() - self.since

    def share(self) -> float | None:
        """Return how many threads waited for a core on average since the last call; None if the system does not tell."""
        before, began = self.delays, self.since
        self.since, self.delays = perf_counter(), delays()
        if not before or not self.delays:
            return None
        waited = sum(self.delays[thread] - before[thread] for thread in before.keys() & self.delays.keys())
        return max(0, waited) / 1e9 / max(self.since - began, 1e-9)


def delays() -> dict[str, int]:
    """Return the nanoseconds that each thread has waited so far, by its number; an empty dict if the system does not tell."""
    waited = {}
    for path in Path("/proc/self/task").glob("*/schedstat"):
        try:
            waited[path.parent.name] = int(path.read_text().split()[1])
        except (OSError, ValueError, IndexError):  # the thread has just ended
            continue
    return waited
