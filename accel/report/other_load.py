"""How busy other processes keep the cores that this one may use."""

from __future__ import annotations

import os
import re
from pathlib import Path

from accel.system.stop_signals import TORCHRUN_VARIABLE

__all__ = ["BUSY", "OtherLoad", "busy_remark", "has_children"]

BUSY = 10.0
"""Percent of the cores that other processes take, from which on reports say so."""


class OtherLoad:
    """Measurement of the time that other processes take on this process's cores, from its making on.

    The time of this process, of its children and, under torchrun, of all ranks of this machine is its own; time that a
    hypervisor steals is others'. Source: /proc/stat and /proc/PID/stat, proc(5).
    """

    def __init__(self) -> None:
        self.cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
        self.start = self.sample()

    def percent(self) -> float | None:
        """Return the share of the cores that others have taken since then, in percent; None if the system does not tell."""
        now = self.sample()
        if self.start is None or now is None or now[0] <= self.start[0]:
            return None
        whole, busy, own = (after - before for after, before in zip(now, self.start, strict=True))
        return min(100.0, max(0.0, 100 * (busy - own) / whole))

    def sample(self) -> tuple[int, int, int] | None:
        """Return clock ticks so far: of the cores, of those that were busy, and of this process's own."""
        try:
            lines = re.findall(r"^cpu(\d+) (.+)$", Path("/proc/stat").read_text(), re.MULTILINE)
            ticks = [list(map(int, line.split()))[:8] for number, line in lines if int(number) in self.cores]
            own = self.own_ticks()
        except (OSError, ValueError):
            return None
        whole, idle = sum(map(sum, ticks)), sum(line[3] + line[4] for line in ticks)
        return whole, whole - idle, own

    def own_ticks(self) -> int:
        """Return the ticks of this process and all below it, of children that are gone as well."""
        if TORCHRUN_VARIABLE not in os.environ and not has_children():  # no other process need be looked at
            return round(sum(os.times()[:4]) * os.sysconf("SC_CLK_TCK"))
        parents: dict[int, int] = {}
        spent: dict[int, int] = {}
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = path.read_text().rpartition(")")[2].split()
                number, parent = int(path.parent.name), int(fields[1])
            except (OSError, IndexError):  # it has just ended
                continue
            parents[number], spent[number] = parent, sum(map(int, fields[11:15]))
        family = {os.getppid() if TORCHRUN_VARIABLE in os.environ else os.getpid()}
        while more := {child for child, parent in parents.items() if parent in family} - family:
            family |= more
        return sum(spent.get(number, 0) for number in family)


def has_children() -> bool:
    """Return whether this process has children, those that are done and not yet waited for among them. It waits for none."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def busy_remark(percent: float, cores: int, threads: int, spin: str, setting: str) -> str:
    """Return what to say at the end of a run beside others on a busy machine, and what to type.

    Args:
        percent: of its cores that others took.
        cores: that the run might use.
        threads: of torch that computed.
        spin: variables by which the user has said how long threads spin that wait; empty for none.
        setting: how the number of threads is set, with `{}` for the number.
    """
    left = max(1, round(cores * (1 - percent / 100)))
    remedies = [f"it without {spin}, for threads that wait more briefly"] if spin and threads > 1 else []
    remedies += [f"{setting.format(left)}, for as many threads as there are cores left"] if left < threads else []
    remark = f"the machine was busy: other processes took {percent:.0f} % of its cores"
    return f"{remark}; try {', or '.join(remedies)}" if remedies else remark
