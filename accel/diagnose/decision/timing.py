"""Repeated measurements of one time, with the bounds of their median."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor, sqrt
from statistics import median

__all__ = ["Range", "Timing"]


@dataclass(frozen=True)
class Range:
    """A number that is known between bounds.

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

    def __add__(self, other: Range | float) -> Range:
        more = other if isinstance(other, Range) else Range.exact(other)
        return Range(self.middle + more.middle, self.low + more.low, self.high + more.high)

    def scaled(self, factor: float) -> Range:
        """Return the number times a factor above 0."""
        return Range(self.middle * factor, self.low * factor, self.high * factor)

    def over(self, other: Range) -> Range:
        """Return this number divided by another one that is above 0, their bounds taken as independent in the root of squares."""
        middle = self.middle / other.middle
        below = sqrt(_share(self.middle, self.low) ** 2 + _share(other.middle, other.high) ** 2)
        above = sqrt(_share(self.middle, self.high) ** 2 + _share(other.middle, other.low) ** 2)
        return Range(middle, middle * max(0.0, 1 - below), middle * (1 + above))


def _share(middle: float, bound: float) -> float:
    """Return how far a bound is from the middle, as a share of it."""
    return abs(bound - middle) / middle if middle else 0.0


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

    @property
    def range(self) -> Range:
        """The median and its bounds at about 95 %, by order: no form of the noise is assumed.

        Of fewer than six measurements the bounds are the least and the most.
        """
        ordered, count = sorted(self.values), len(self.values)
        cut = max(0, floor((count - 1.96 * sqrt(count)) / 2))
        return Range(self.median, ordered[cut], ordered[count - 1 - cut])

    def scaled(self, factor: float) -> Timing:
        """Return the timing with every measurement times a factor."""
        return Timing(tuple(value * factor for value in self.values))
