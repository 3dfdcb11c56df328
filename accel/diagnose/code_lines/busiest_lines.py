"""The lines of code on which the updates of a run, its data and its evaluations spend their time."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter

from accel.diagnose.code_lines.line_sampler import LineSampler
from accel.diagnose.decision.figures import CodeLine
from accel.diagnose.probes.probed_run import MOST, ProbedRun
from accel.system.clock import PHASES

__all__ = ["ACTIVITIES", "ENOUGH", "FIRST", "LONGER", "busiest_lines"]

ENOUGH, LONGER = 200, 3
"""Samples of all activities together, and the multiple of the time that is spent for them on a machine that is busy."""
FIRST = 4
"""Batches of the first evaluation; each that follows has twice as many, so that what begins one is the least of it."""
ACTIVITIES = {
    "data": ("data", "other"), "forward": ("forward",), "backward": ("backward",), "update": ("update",),
    "evaluation": ("evaluation",),
}  # fmt: skip
"""What lines are of, and the phases of the clock that belong to it: `other` ends with each window of data."""


def busiest_lines(probed: ProbedRun, seconds: float, evaluation: Callable[[int], object] | None = None) -> dict[str, CodeLine]:
    """Return the busiest line of each of `ACTIVITIES`, as far as one takes much of it (`line_sampler.NAMED`).

    Updates are made on the run's own data. Of a backward pass only the user's hooks have lines. What is read by other threads and
    processes is not seen.

    Args:
        probed: the run.
        seconds: of measuring, about.
        evaluation: evaluates so many batches; None to leave it out.
    """
    run = probed.run

    def update() -> None:
        window = next(probed.windows)
        sampler.book("data")
        run.parts.update(window)
        probed.synchronise()
        sampler.book("update")

    with LineSampler() as sampler:
        alone = run.parts.parallel.world_size == 1
        count = MOST if alone else probed.count_for(update, seconds)
        run.clock.listeners.append(book := lambda phase: sampler.book(PHASES[phase]))
        try:
            sampler.forget()
            began = perf_counter()
            for _ in range(count):
                update()
                elapsed = perf_counter() - began
                if alone and elapsed > seconds and (sampler.taken > ENOUGH or elapsed > LONGER * seconds):
                    break
        finally:
            run.clock.listeners.remove(book)
        batches, began = FIRST, perf_counter()
        while evaluation is not None and (batches == FIRST or (alone and perf_counter() - began < seconds)):
            evaluation(batches)
            sampler.book("evaluation")
            batches *= 2
    lines = {name: sampler.busiest(*booked) for name, booked in ACTIVITIES.items()}
    return {name: line for name, line in lines.items() if line is not None}
