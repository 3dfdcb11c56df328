"""How many times faster one way is than another, with bounds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp

import numpy as np

from accel.compare.bootstrap import LEVEL, studentized_bounds

__all__ = ["SpeedRatio", "speed_ratio"]


@dataclass(frozen=True)
class SpeedRatio:
    """Seconds of the base over seconds of the other: above 1, the other is faster.

    Args:
        ratio: the estimate.
        low: lower bound.
        high: upper bound.
        rounds: rounds of windows that it was measured in.
    """

    ratio: float
    low: float
    high: float
    rounds: int

    @property
    def width(self) -> float:
        """How far the bounds lie apart: the upper one over the lower one, less 1."""
        return self.high / self.low - 1 if self.low > 0 else float("inf")

    @property
    def inverse(self) -> SpeedRatio:
        """The same measurement, seen from the other side."""
        return SpeedRatio(1 / self.ratio, 1 / self.high, 1 / self.low if self.low > 0 else float("inf"), self.rounds)


def speed_ratio(base: Sequence[Sequence[float]], other: Sequence[Sequence[float]], level: float = LEVEL) -> SpeedRatio:
    """Return how many times faster `other` is than `base`, from windows that took turns.

    Each round gives one ratio, of the geometric means of its windows; the rounds are taken as independent.

    Args:
        base: seconds per sample in the windows of the base, (rounds, windows), all above 0.
        other: the same of the other.
        level: probability with which the bounds hold the true ratio.

    >>> speed_ratio([[2.0, 2.0]] * 8, [[1.0, 1.0]] * 8).ratio
    2.0
    """
    differences = np.log(np.asarray(base, dtype=np.float64)).mean(axis=1) - np.log(np.asarray(other, dtype=np.float64)).mean(axis=1)
    bounds = studentized_bounds(differences, level)
    high = exp(bounds.high) if bounds.high < 700 else float("inf")
    return SpeedRatio(exp(bounds.value), exp(bounds.low), high, len(differences))
