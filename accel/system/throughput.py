"""How fast a run goes: samples per second of training, and the share of it that was spent waiting for data."""

from __future__ import annotations

from time import perf_counter
from typing import NamedTuple

from accel.system.clock import CHECKPOINT, DATA, EVALUATION, Clock

__all__ = ["ThroughputMark"]


class ThroughputMark(NamedTuple):
    """The state of things at one moment."""

    time: float
    """Seconds of training: evaluation and checkpoints left out."""
    waited: float
    """Seconds spent waiting for data."""
    samples: int

    @classmethod
    def now(cls, clock: Clock, samples: int) -> ThroughputMark:
        """With so many samples consumed."""
        spent = clock.spent
        return cls(perf_counter() - spent[EVALUATION] - spent[CHECKPOINT], spent[DATA], samples)

    def since(self, old: ThroughputMark) -> tuple[float, float]:
        """Samples per second, and the percentage of the time spent waiting for data, between `old` and this one."""
        seconds = max(self.time - old.time, 1e-9)
        return (self.samples - old.samples) / seconds, 100 * (self.waited - old.waited) / seconds
