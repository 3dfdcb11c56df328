"""Repeated measurements of one time, with the bounds of their mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import exp, hypot, isfinite, log
from statistics import median

from accel.compare import SpeedRatio, speed_ratio, studentized_bounds

__all__ = ["FEW", "Range", "Timing", "taken_in_turn"]

FEW = 8
"""Measurements below which bounds are the least and the most of them, and a tenth beyond: too few for the bootstrap."""


@dataclass(frozen=True)
class Range:
    """A number above 0 that is known between bounds.

    Args:
        middle: the likeliest value.
        low: lower bound.
        high: upper bound.
    """

    middle: float
    low: float
    high: float

    @classmethod
    def exact(cls, value: float) -> Range:
        """Return a number that is known."""
        return cls(value, value, value)

    @classmethod
    def of_ratio(cls, ratio: SpeedRatio) -> Range:
        """Return how many times faster one way is than another."""
        return cls(ratio.ratio, ratio.low, ratio.high)

    def __add__(self, other: Range | float) -> Range:
        more = other if isinstance(other, Range) else Range.exact(other)
        return Range(self.middle + more.middle, self.low + more.low, self.high + more.high)

    def scaled(self, factor: float) -> Range:
        """Return the number times a factor above 0."""
        return Range(self.middle * factor, self.low * factor, self.high * factor)

    def over(self, other: Range) -> Range:
        """Return this number divided by another, whose errors have nothing to do with each other.

        Bounds are those of the logarithms, which are added in squares.
        """
        middle = self.middle / other.middle
        below = hypot(_distance(self.middle, self.low), _distance(other.middle, other.high))
        above = hypot(_distance(self.middle, self.high), _distance(other.middle, other.low))
        return Range(middle, middle * exp(-below), middle * exp(above))


def _distance(middle: float, bound: float) -> float:
    """Return how far a bound is from the middle, in logarithms; that of a bound at 0 is taken as of a tenth."""
    return abs(log(max(bound, 0.1 * middle) / middle)) if middle > 0 and isfinite(bound) else log(10)


@dataclass(frozen=True)
class Timing:
    """Repeated measurements of one time, in seconds.

    Args:
        values: in the order in which they were taken; at least one.
    """

    values: tuple[float, ...]

    @classmethod
    def of(cls, values: Sequence[float]) -> Timing:
        """Return the timing of measurements."""
        return cls(tuple(values))

    @property
    def median(self) -> float:
        """The middle of the measurements."""
        return median(self.values)

    @cached_property
    def range(self) -> Range:
        """The median, and bounds that hold the true value at 99 % (`accel.compare.studentized_bounds`)."""
        if len(self.values) < FEW:
            return Range(self.median, 0.9 * min(self.values), 1.1 * max(self.values))
        bounds = studentized_bounds(self.values)
        return Range(self.median, max(0.0, min(bounds.low, self.median)), max(bounds.high, self.median))

    def scaled(self, factor: float) -> Timing:
        """Return the timing with every measurement times a factor."""
        return Timing(tuple(value * factor for value in self.values))


def taken_in_turn(before: Timing, after: Timing) -> SpeedRatio:
    """Return how many times faster `after` is than `before`, of timings that took turns: each pair met the same machine.

    Of fewer than `FEW` pairs the bounds are the least and the most of their ratios, and a tenth beyond.
    """
    pairs = list(zip(before.values, after.values, strict=True))
    if len(pairs) < FEW:
        ratios = sorted(one / other for one, other in pairs)
        return SpeedRatio(median(ratios), 0.9 * ratios[0], 1.1 * ratios[-1], len(pairs))
    return speed_ratio([[one] for one, _ in pairs], [[other] for _, other in pairs])
