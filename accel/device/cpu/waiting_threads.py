"""OpenMP's threads that wait for one another: for how long they spin before they sleep.

torch's threads meet several times in each operation. By default each then spins for some milliseconds: waking up takes longer.
On a quiet machine that halves a small network's update. Where something else needs the cores, spinning takes them from the very
threads that are waited for, and an update takes several times as long. So threads spin as OpenMP has it, until they are seen to
wait for cores; from then on they sleep at once, until the cores are free again.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from threading import Event
from time import perf_counter

import torch

from accel.device.cuda.device_threads import DeviceThread
from accel.system.cpu.run_delay import RunDelay

__all__ = ["CROWDED", "FREE", "INTERVAL", "USER_VARIABLES", "WaitingThreads", "user_spin"]

USER_VARIABLES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
"""Variables of the user's that settle it: while one of them is set, nothing is done."""
CROWDED, FREE = 0.6, 0.25
"""Threads that wait for a core on average, from which on those that wait for others sleep at once; and below which they spin again.

Between them neither is clearly faster: `benchmarks/waiting_threads.py`, whose table is in docs/guides/cpu.md.
"""
INTERVAL = 1.0
"""Seconds between two looks, at least."""


class WaitingThreads:
    """Switch between spinning and sleeping, for the CPU threads of one run.

    GNU's OpenMP spins a thousand times more briefly while it manages more threads than the process has cores. So threads that have
    a team of their own, and sleep, are the switch. No bit changes. Source: `gomp_managed_threads` in libgomp's wait.h and team.c.

    Args:
        device: device of the run; on any other than a CPU nothing is done.
    """

    def __init__(self, device: torch.device) -> None:
        self.active = device.type == "cpu" and not user_spin() and has_gnu_openmp()
        self.delay = RunDelay()
        self.released: Event | None = None
        """What the threads that hold a team wait for; None while threads spin."""
        self.began, self.slept, self.short_since = perf_counter(), 0.0, 0.0
        self.holders: list[DeviceThread] = []

    def check(self) -> None:
        """Look whether threads wait for cores, and switch accordingly. Does nothing within a second of the last look."""
        if not self.switches or self.delay.seconds < INTERVAL:
            return
        share = self.delay.share()
        if share is None:
            self.active = False
        elif self.released is None and share > CROWDED:
            self.shorten()
        elif self.released is not None and share < FREE:
            self.lengthen()

    def shorten(self) -> None:
        """Let threads that wait sleep at once."""
        self.released, self.short_since = Event(), perf_counter()
        threads, cores = torch.get_num_threads(), os.cpu_count() or 1
        for _ in range(max(1, -(-(cores - threads + 1) // threads))):  # with the run's own, more threads than cores
            ready = Event()
            holder = DeviceThread(target=hold_team, args=(ready, self.released), name="accel-team", daemon=True)
            holder.start()
            ready.wait()
            self.holders.append(holder)

    def lengthen(self) -> None:
        """Let threads that wait spin, as OpenMP has it."""
        if self.released is not None:
            self.released.set()
            for holder in self.holders:
                holder.join()
            self.slept += perf_counter() - self.short_since
            self.released, self.holders = None, []

    @property
    def switches(self) -> bool:
        """Whether there is anything to switch."""
        return self.active and torch.get_num_threads() > 1

    def crowded(self, work: Callable[[], object], times: int) -> bool:
        """Do work so many times, once where nothing can be switched; return whether threads waited for cores meanwhile."""
        self.delay.share()
        for _ in range(times if self.switches else 1):
            work()
        share = self.delay.share() if self.switches else None
        return share is not None and share > CROWDED

    @contextmanager
    def sleeping(self) -> Iterator[None]:
        """Let threads that wait sleep at once meanwhile, where that can be switched."""
        switch = self.switches and self.released is None
        if switch:
            self.shorten()
        try:
            yield
        finally:
            if switch:
                self.lengthen()

    def notes(self) -> list[str]:
        """Return a sentence for the summary if threads slept for a tenth of the run, else nothing."""
        slept = self.slept + (perf_counter() - self.short_since if self.released is not None else 0.0)
        share = slept / max(perf_counter() - self.began, 1e-9)
        if share < 0.1:
            return []
        return [f"cores were wanted by others for {share:.0%} of the run: torch's threads slept while they waited"]


def hold_team(ready: Event, released: Event) -> None:
    """Make a team of OpenMP's threads by one operation that is divided, and keep it until `released`."""
    torch.ones(1 << 18).add_(1)
    ready.set()
    released.wait()


def user_spin(environ: Mapping[str, str] = os.environ) -> str:
    """Return how long threads spin by the user's variables, as `NAME=value`; empty where none is set."""
    return ", ".join(f"{name}={environ[name]}" for name in USER_VARIABLES if name in environ)


@cache
def has_gnu_openmp() -> bool:
    """Return whether torch's threads are those of GNU's OpenMP alone."""
    if sys.platform != "linux":
        return False
    try:
        libraries = Path("/proc/self/maps").read_text()
    except OSError:
        return False
    return "libgomp" in libraries and "libomp" not in libraries and "libiomp" not in libraries
