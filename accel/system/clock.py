"""The wall time of a run, by phase."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter

__all__ = ["BACKWARD", "CHECKPOINT", "DATA", "EVALUATION", "FORWARD", "OTHER", "PHASES", "TRAINING", "TRANSFER", "UPDATE", "Clock"]

PHASES = ("data", "transfer", "forward", "backward", "update", "evaluation", "checkpoint", "other")
TRAINING = PHASES[:5]
"""The phases of every update, by name; the others belong to the run and come now and then."""
DATA, TRANSFER, FORWARD, BACKWARD, UPDATE, EVALUATION, CHECKPOINT, OTHER = range(len(PHASES))


class Clock:
    """Stopwatch with one hand: each lap books the time since the last one to a phase, so the phases add up to the whole.

    It reads the host's clock and never waits for the device: on CUDA, queued work is booked to the phase in which the host waits.
    """

    __slots__ = ("listeners", "since", "spent")

    def __init__(self) -> None:
        self.spent = [0.0] * len(PHASES)
        self.since = perf_counter()
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
    def attribute_to(self, phase: int) -> Iterator[None]:
        """Book all time inside the block to `phase`, whichever phases its laps name."""
        before = list(self.spent)
        try:
            yield
        finally:
            self.lap(phase)
            booked = sum(self.spent) - sum(before)
            self.spent[:] = before
            self.spent[phase] += booked

    def shares(self) -> dict[str, float]:
        """Return the share of each phase in percent; they add up to 100."""
        total = sum(self.spent) or 1.0
        return {phase: 100 * spent / total for phase, spent in zip(PHASES, self.spent, strict=True)}
