"""A run under measurement: updates of its own data, and of one batch again and again, with their times."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from time import perf_counter

import torch

from accel.diagnose.decision.timing import Timing
from accel.engine.training_run import TrainingRun
from accel.parts import Window

__all__ = ["BLOCKS", "LEAST", "MOST", "TRIAL_RATE", "ProbedRun", "in_blocks"]

LEAST, MOST = 5, 400
"""Fewest and most updates that a time is taken of."""
BLOCKS = 12
"""Means that many short measurements are put together to."""
TRIAL_RATE = 1e-4
"""Factor on the learning rate: the same batch again and again must not be learned until its gradients vanish, or explode."""


class ProbedRun:
    """Run whose updates are on trial.

    Args:
        run: the run, set up.
        windows: of its training data, without end (`accel.engine.sandbox`).
        seconds: for the longest of its measurements.
    """

    def __init__(self, run: TrainingRun, windows: Iterator[Window], seconds: float) -> None:
        self.run, self.windows, self.seconds = run, windows, seconds
        self.on_device = run.device.type == "cuda"
        run.parts.schedule.apply(run.progress.step)
        run.parts.optim.set_lr(run.parts.schedule.lr(run.progress.step) * TRIAL_RATE)
        self.window = self.keep(next(windows))
        """The window whose batches are used again and again, on the device."""

    @property
    def batch_size(self) -> int:
        """Samples of the window's first micro-batch."""
        return next(iter(self.window.micros)).samples

    def keep(self, window: Window) -> Window:
        """Return a window that can be iterated over again."""
        return window._replace(micros=tuple(window.micros))

    def update(self) -> None:
        """Make an update of the same batch again."""
        self.run.parts.update(self.window)

    def passes(self) -> None:
        """Make forward and backward pass of the window's first micro-batch again, on this rank alone. Gradients are left."""
        run, parts = self.run, self.run.parts
        batch = next(iter(self.window.micros)).batch
        with parts.parallel.sync(last=False), parts.precision.cast():
            loss, _ = parts.parallel.call(parts.objective, run.model, batch)
        with parts.parallel.sync(last=False):
            loss.backward()  # type: ignore[no-untyped-call]

    def update_and_wait(self) -> None:
        """Make an update of the same batch again, and wait until the device has done it."""
        self.update()
        self.synchronise()

    def synchronise(self) -> None:
        """Wait until the device has done what is queued."""
        if self.on_device:
            torch.cuda.synchronize(self.run.device)

    def count_for(self, call: Callable[[], object], seconds: float) -> int:
        """Return how often `call` is made in some seconds, at least `LEAST` and at most `MOST`; the same on every rank."""
        call()
        self.synchronise()
        started = perf_counter()
        call()
        self.synchronise()
        count = int(seconds / max(perf_counter() - started, 1e-6))
        return self.run.parts.parallel.highest([min(MOST, max(LEAST, count))])[0]

    def time(self, call: Callable[[], object], seconds: float) -> Timing:
        """Return the times of a call that is repeated for some seconds. Ranks make as many calls each."""
        times = []
        for _ in range(self.count_for(call, seconds)):
            started = perf_counter()
            call()
            self.synchronise()
            times.append(perf_counter() - started)
        return in_blocks(times)


def in_blocks(times: list[float]) -> Timing:
    """Return the timing of short measurements, as means of at most `BLOCKS` blocks of them: readers come in bursts.

    >>> in_blocks([1.0, 3.0] * 12).values
    (2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0)
    """
    blocks = min(BLOCKS, len(times))
    edges = [number * len(times) // blocks for number in range(blocks + 1)]
    parts = [times[start:stop] for start, stop in pairwise(edges)]
    return Timing.of([sum(part) / len(part) for part in parts])
