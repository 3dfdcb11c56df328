"""Where the wall time of a run goes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter

PHASES = ("data", "transfer", "forward", "backward", "update", "evaluation", "checkpoint", "other")
TRAINING = PHASES[:5]
"""The phases that every update goes through, by name; the others are of the run, and come now and then."""
DATA, TRANSFER, FORWARD, BACKWARD, UPDATE, EVALUATION, CHECKPOINT, OTHER = range(len(PHASES))


class Clock:
    """A stopwatch with one hand: each lap books the time since the last one to a phase, so the phases add up to the whole.

    It reads the host's clock and never waits for the device: on CUDA, work still queued is booked where the host meets it.
    """

    __slots__ = ("listeners", "since", "spent")

    def __init__(self) -> None:
        self.spent = [0.0] * len(PHASES)
        self.since = perf_counter()
        self.listeners: list[Callable[[int], None]] = []
        """Called at each lap with the phase that has ended. Their own time falls into the next one, unless they set it apart."""

    def lap(self, phase: int) -> None:
        """Books everything since the last lap to `phase`."""
        now = perf_counter()
        self.spent[phase] += now - self.since
        self.since = now
        for listener in self.listeners:
            listener(phase)

    def book_within_lap(self, seconds: float, phase: int) -> None:
        """Books the last `seconds` to `phase` and leaves them out of the lap under way: what happened in the midst of another."""
        self.spent[phase] += seconds
        self.since += seconds

    @contextmanager
    def attribute_to(self, phase: int) -> Iterator[None]:
        """Inside, whatever is booked, to whichever phase, counts as `phase`."""
        before = list(self.spent)
        try:
            yield
        finally:
            self.lap(phase)
            booked = sum(self.spent) - sum(before)
            self.spent[:] = before
            self.spent[phase] += booked

    def shares(self) -> dict[str, float]:
        """The share of each phase in percent; they add up to 100."""
        total = sum(self.spent) or 1.0
        return {phase: 100 * spent / total for phase, spent in zip(PHASES, self.spent, strict=True)}
