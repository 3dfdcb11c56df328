"""The wall time of a run by phase, and its speed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import NamedTuple

__all__ = [
    "BACKWARD",
    "CHECKPOINT",
    "COMPILE",
    "DATA",
    "EVALUATION",
    "FORWARD",
    "OTHER",
    "PHASES",
    "REPORT",
    "SET_APART",
    "TRAINING",
    "TRANSFER",
    "UPDATE",
    "Clock",
    "ThroughputMark",
]

PHASES = ("data", "transfer", "forward", "backward", "update", "compile", "evaluation", "checkpoint", "report", "other")
TRAINING = PHASES[:5]
"""The phases of every update, by name; the others belong to the run and come now and then."""
DATA, TRANSFER, FORWARD, BACKWARD, UPDATE, COMPILE, EVALUATION, CHECKPOINT, REPORT, OTHER = range(len(PHASES))
SET_APART = (COMPILE, EVALUATION, CHECKPOINT, REPORT)
"""Phases that samples per second leave out."""


class Clock:
    """Stopwatch with one hand: each lap books the time since the last one to a phase, so the phases add up to the whole.

    It reads the host's clock and never waits for the device: on CUDA, queued work is booked to the phase in which the host waits.
    """

    __slots__ = ("aside", "listeners", "since", "spent")

    def __init__(self) -> None:
        self.spent = [0.0] * len(PHASES)
        self.since = perf_counter()
        self.aside = 0.0
        """Seconds that belong to no phase."""
        self.listeners: list[Callable[[int], None]] = []
        """Called at each lap with the phase that has ended. Their own time falls into the next one, unless they set it apart."""

    def lap(self, phase: int) -> None:
        """Book the seconds since the last lap to `phase`, an index of `PHASES`."""
        now = perf_counter()
        self.spent[phase] += now - self.since
        self.since = now
        for listener in self.listeners:
            listener(phase)

    def book_within_lap(self, seconds: float, phase: int) -> None:
        """Book the last `seconds` to `phase` and leave them out of the lap under way: for work in the middle of another phase."""
        self.spent[phase] += seconds
        self.since += seconds

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Leave the time inside the block out of every phase; `aside` has it."""
        start = perf_counter()
        try:
            yield
        finally:
            seconds = perf_counter() - start
            self.since += seconds
            self.aside += seconds

    @contextmanager
    def attribute_to(self, phase: int) -> Iterator[None]:
        """Book all time inside the block to `phase`, whichever phases its laps name. Compiling stays compiling."""
        before = list(self.spent)
        try:
            yield
        finally:
            self.lap(phase)
            compiling = self.spent[COMPILE] - before[COMPILE]
            booked = sum(self.spent) - sum(before) - compiling
            self.spent[:] = before
            self.spent[phase] += booked
            self.spent[COMPILE] += compiling

    def shares(self) -> dict[str, float]:
        """Return the share of each phase in percent; they add up to 100. Compiling is left out where nothing was compiled."""
        total = sum(self.spent) or 1.0
        shares = {phase: 100 * spent / total for phase, spent in zip(PHASES, self.spent, strict=True)}
        if not self.spent[COMPILE]:
            del shares[PHASES[COMPILE]]
        return shares


class ThroughputMark(NamedTuple):
    """Time, waiting and samples at one moment."""

    time: float
    """Seconds of training: compiling, evaluation, checkpoints and reports left out."""
    waited: float
    """Seconds spent waiting for data."""
    samples: int

    @classmethod
    def now(cls, clock: Clock, samples: int) -> ThroughputMark:
        """Return the mark of this moment, after `samples` samples."""
        spent = clock.spent
        return cls(perf_counter() - clock.aside - sum(spent[phase] for phase in SET_APART), spent[DATA], samples)

    def since(self, old: ThroughputMark) -> tuple[float, float]:
        """Return samples per second, and the percentage of the time spent waiting for data, between `old` and this mark."""
        seconds = max(self.time - old.time, 1e-9)
        return (self.samples - old.samples) / seconds, 100 * (self.waited - old.waited) / seconds
