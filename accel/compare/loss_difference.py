"""The difference between two ways of training in the loss that they reach, beside that between two seeds of one way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import comb, inf, isfinite
from statistics import fmean, stdev

__all__ = ["MIN_SEEDS", "PROBABILITY", "LossDifference", "loss_difference", "rank_probability"]

PROBABILITY = 0.03
"""Probability, at most, with which two equal ways of training are called different."""
MIN_SEEDS = 4
"""Seeds of each way, from which on a difference can be that improbable."""


@dataclass(frozen=True)
class LossDifference:
    """Loss of the other less that of the base.

    Args:
        base: mean loss of the base over its seeds.
        difference: of the means; above 0, the other is worse. Infinite if a loss of the other is not finite.
        noise: standard deviation of the base's loss over its seeds; 0 for a single one.
        probability: of a difference at least so clear between two equal ways (`rank_probability`).
        seeds: of each way.
    """

    base: float
    difference: float
    noise: float
    probability: float
    seeds: int

    @property
    def is_beyond_noise(self) -> bool:
        """Whether the two differ by more than their seeds do."""
        return self.probability <= PROBABILITY

    @property
    def is_worse(self) -> bool:
        """Whether the other has the higher loss, beyond the noise."""
        return self.is_beyond_noise and self.difference > 0

    @property
    def is_better(self) -> bool:
        """Whether the other has the lower loss, beyond the noise."""
        return self.is_beyond_noise and self.difference < 0


def loss_difference(base: Sequence[float], other: Sequence[float]) -> LossDifference:
    """Return the difference between the losses of two ways of training.

    Args:
        base: losses of the base, one for each seed. One that is not finite counts as the highest of all.
        other: those of the other.
    """
    one, two = ([loss if isfinite(loss) else inf for loss in losses] for losses in (base, other))
    noise = stdev(one) if len(one) > 1 and inf not in one else 0.0
    difference = fmean(two) - fmean(one) if inf not in one else 0.0 if inf in two else -inf
    return LossDifference(fmean(one), difference, noise, rank_probability(one, two), min(len(one), len(two)))


def rank_probability(one: Sequence[float], two: Sequence[float]) -> float:
    """Return how probable ranks as uneven as those of `one` and `two` are, if both come from the same distribution.

    It makes no assumption on that distribution. Of two times four values, complete separation has 0.029; fewer values are never
    that improbable. Source: Mann and Whitney, On a Test of Whether one of Two Random Variables is Stochastically Larger than the
    Other, 1947; two-sided, exact.

    >>> round(rank_probability([1.0, 1.1, 0.9, 1.2], [2.0, 2.1, 1.9, 2.2]), 4)
    0.0286
    """
    wins = sum((a > b) + 0.5 * (a == b) for a in one for b in two)
    pairs = len(one) * len(two)
    fewer = int(min(wins, pairs - wins) + 0.5)  # a tie is rounded to the more even side
    ways = sum(_ways(len(one), len(two), count) for count in range(fewer + 1))
    return min(1.0, 2 * ways / comb(len(one) + len(two), len(one)))


@cache
def _ways(n: int, m: int, wins: int) -> int:
    """Return in how many orders of n and m values the n win so many of the n x m duels."""
    if wins < 0:
        return 0
    if n == 0 or m == 0:
        return int(wins == 0)
    return _ways(n - 1, m, wins - m) + _ways(n, m - 1, wins)
