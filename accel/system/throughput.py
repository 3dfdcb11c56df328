"""The speed of a run: samples per second of training, and the share of the time spent waiting for data."""

from __future__ import annotations

from time import perf_counter
from typing import NamedTuple

from accel.system.clock import CHECKPOINT, DATA, EVALUATION, Clock

__all__ = ["ThroughputMark"]


class ThroughputMark(NamedTuple):
    """Time, waiting and samples at one moment."""

    time: float
    """Seconds of training: evaluation and checkpoints left out."""
    waited: float
    """Seconds spent waiting for data."""
    samples: int

    @classmethod
    def now(cls, clock: Clock, samples: int) -> ThroughputMark:
        """Return the mark of this moment, after `samples` samples."""
        spent = clock.spent
        return cls(perf_counter() - spent[EVALUATION] - spent[CHECKPOINT], spent[DATA], samples)

    def since(self, old: ThroughputMark) -> tuple[float, float]:
        """Return samples per second, and the percentage of the time spent waiting for data, between `old` and this mark."""
        seconds = max(self.time - old.time, 1e-9)
        return (self.samples - old.samples) / seconds, 100 * (self.waited - old.waited) / seconds
