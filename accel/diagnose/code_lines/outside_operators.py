"""The time of forward and backward pass in which no operator computes: Python, and the launching of operators."""

from __future__ import annotations

from time import perf_counter
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from accel.diagnose.probes.batch_growth import seconds_of_passes
from accel.diagnose.probes.probed_run import ProbedRun
from accel.parts import Compile
from accel.system.clock import BACKWARD, FORWARD

__all__ = ["CALLS", "ROUNDS", "OperatorSeconds", "outside_operators"]

ROUNDS, FEWEST = 40, 5
"""Updates of each kind, at most and at least."""
SIMPLEST = 2
"""Launching of an operator, as a multiple of the simplest one."""
CALLS = 200
"""Operators on one number by which the launching of one is measured."""


class OperatorSeconds(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Dispatch mode that adds up the seconds in which operators compute, below autograd.

    Args:
        launching: seconds of each operator that do not count: it takes them whatever it computes.
    """

    def __init__(self, launching: float = 0.0) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.launching, self.seconds = launching, 0.0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        started = perf_counter()
        result = func(*args, **(kwargs or {}))
        self.seconds += max(0.0, perf_counter() - started - self.launching)
        return result

    def take(self) -> float:
        """Return the seconds since the last call."""
        taken, self.seconds = self.seconds, 0.0
        return taken


def outside_operators(probed: ProbedRun, seconds: float) -> float | None:
    """Return the share of forward and backward pass, from 0 to 1, in which the host is not inside of an operator that computes.

    Updates of the same batch take turns with some whose operators are timed; the least time of each counts, since others make some
    longer and none shorter. None on CUDA, where operators are queued, for a compiled model, and for several ranks.

    Args:
        probed: the run.
        seconds: of measuring, about.
    """
    run = probed.run
    if probed.on_device or type(run.parts.compile) is not Compile or run.parts.parallel.world_size > 1:
        return None
    launching, until = SIMPLEST * launch_seconds(), perf_counter() + seconds
    plain: list[float] = []
    inside: list[float] = []
    while len(plain) < FEWEST or (len(plain) < ROUNDS and perf_counter() < until):
        plain.append(seconds_of_passes(probed, probed.window))
        inside.append(_operators_of_passes(probed, launching))
    return min(1.0, max(0.0, 1 - min(inside) / max(min(plain), 1e-9)))


def _operators_of_passes(probed: ProbedRun, launching: float) -> float:
    """Return the seconds in which the operators of forward and backward pass compute in an update."""
    passes: list[float] = []
    clock = probed.run.clock
    with OperatorSeconds(launching) as mode:

        def add(phase: int) -> None:
            taken = mode.take()
            passes.append(taken if phase in (FORWARD, BACKWARD) else 0.0)

        clock.listeners.append(add)
        try:
            probed.update()
        finally:
            clock.listeners.remove(add)
    return sum(passes)


def launch_seconds() -> float:
    """Return the seconds that an operator takes which has next to nothing to compute."""
    number = torch.zeros(())
    times: list[float] = []
    with OperatorSeconds() as mode:
        for _ in range(CALLS):
            number.add(1)
            times.append(mode.take())
    return sorted(times)[CALLS // 2]
