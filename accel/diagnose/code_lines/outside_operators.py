"""The time of forward and backward pass in which no operator computes: Python, and the launching of operators."""

from __future__ import annotations

from time import perf_counter
from typing import Any, NamedTuple

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from accel.diagnose.probes.probed_run import ProbedRun
from accel.parts import Compile
from accel.system.clock import BACKWARD, FORWARD

__all__ = ["CALLS", "ROUNDS", "OperatorSeconds", "PassTimes", "least_of_each", "outside_operators"]

ROUNDS, FEWEST = 40, 5
"""Updates whose operators are timed, at most and at least."""
SIMPLEST = 2
"""Launching of an operator, as a multiple of the simplest one."""
CALLS = 200
"""Operators on one number by which the launching of one is measured."""


class PassTimes(NamedTuple):
    """Times of the operators of a pass, in order, in seconds."""

    inside: list[float]
    """Of each operator."""
    between: list[float]
    """Before each of them and after the last, in Python and in torch's own engine."""


class OperatorSeconds(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Dispatch mode that keeps the times of operators, below autograd."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.times, self.last = PassTimes([], []), perf_counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        started = perf_counter()
        self.times.between.append(started - self.last)
        result = func(*args, **(kwargs or {}))
        self.last = perf_counter()
        self.times.inside.append(self.last - started)
        return result

    def take(self) -> PassTimes:
        """Return the times since the last call."""
        now, taken = perf_counter(), self.times
        taken.between.append(now - self.last)
        self.times, self.last = PassTimes([], []), now
        return taken


def outside_operators(probed: ProbedRun, seconds: float) -> float | None:
    """Return the share of forward and backward pass, from 0 to 1, in which the host is not inside of an operator that computes.

    In updates of the same batch each operator is timed, and what lies between two. The least time of each counts: other programs
    make some longer, and none shorter. What the timing adds between two is left out, and so is launching of what computes.
    None on CUDA, where operators are queued, for a compiled model, and for several ranks.

    Args:
        probed: the run.
        seconds: of measuring, about.
    """
    run = probed.run
    if probed.on_device or type(run.parts.compile) is not Compile or run.parts.parallel.world_size > 1:
        return None
    until, rounds, passes, simplest = perf_counter() + seconds, 0, _times_of_passes(probed), launch_seconds()
    while rounds < FEWEST or (rounds < ROUNDS and perf_counter() < until):
        passes = least_of_each(passes, _times_of_passes(probed))
        simplest = least_of_each(simplest, launch_seconds())
        rounds += 1
    launching, timing = (sorted(times)[CALLS // 2] for times in simplest)
    computing = sum(max(0.0, each - SIMPLEST * launching) for each in passes.inside)
    whole = sum(passes.inside) + sum(max(0.0, each - timing) for each in passes.between)
    return 1 - computing / max(whole, 1e-9)


def least_of_each(before: PassTimes, after: PassTimes) -> PassTimes:
    """Return the least time of each operator in two passes, and between each two; of passes that differ, the times of the faster.

    >>> least_of_each(PassTimes([1.0, 5.0], [0.0] * 3), PassTimes([3.0, 2.0], [0.0] * 3)).inside
    [1.0, 2.0]
    >>> least_of_each(PassTimes([1.0, 5.0], [0.0] * 3), PassTimes([1.0, 1.0, 1.0], [0.0] * 4)).inside
    [1.0, 1.0, 1.0]
    """
    if len(before.between) == len(after.between):
        return PassTimes(*(list(map(min, *each)) for each in zip(before, after, strict=True)))
    return min(before, after, key=lambda times: sum(times.inside) + sum(times.between))


def _times_of_passes(probed: ProbedRun) -> PassTimes:
    """Return the times of the operators of forward and backward pass in an update."""
    passes = PassTimes([], [])
    clock = probed.run.clock
    with OperatorSeconds() as mode:

        def add(phase: int) -> None:
            taken = mode.take()
            if phase in (FORWARD, BACKWARD):
                passes.inside.extend(taken.inside)
                passes.between.extend(taken.between)

        clock.listeners.append(add)
        try:
            probed.update()
        finally:
            clock.listeners.remove(add)
    return passes


def launch_seconds() -> PassTimes:
    """Return the times of operators that have next to nothing to compute, and of what timing adds between two."""
    number = torch.zeros(())
    with OperatorSeconds() as mode:
        for _ in range(CALLS):
            number.add(1)
    times: PassTimes = mode.take()
    return times
