"""Bounds of a mean from few measurements, some of them far off: the studentized bootstrap of a trimmed mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["LEVEL", "RESAMPLES", "TRIM", "Bounds", "Floats", "studentized_bounds", "trimmed_mean"]

Floats = NDArray[np.float64]
LEVEL = 0.99
"""Probability with which the bounds hold the true value."""
TRIM = 0.2
"""Share of the values that is left out at each end: a moment in which another program runs spoils no mean."""
RESAMPLES = 2000
"""Samples that are drawn from the measured values. They are the same in each call, so equal values have equal bounds."""

ROUNDING = 1e-12
"""Share of the largest value below which values differ by rounding alone."""


class Bounds(NamedTuple):
    """An estimate, and the interval that holds the true value."""

    value: float
    low: float
    high: float


def trimmed_mean(values: Sequence[float] | Floats) -> float:
    """Return the mean of the values without the least and the greatest fifth.

    >>> trimmed_mean([1.0, 2.0, 3.0, 4.0, 100.0])
    3.0
    """
    return float(_location_and_error(np.asarray(values, dtype=np.float64)[None])[0][0])


def studentized_bounds(values: Sequence[float] | Floats, level: float = LEVEL) -> Bounds:
    """Return the trimmed mean of independent values, with symmetric bounds.

    They hold the true value with about that probability from eight values on, also where single values are far off.

    Args:
        values: (n,), finite.
        level: a probability below 1.

    Returns:
        The bounds; of a single value, infinitely wide ones.

    Source: Wilcox, Introduction to Robust Estimation and Hypothesis Testing, 4.4.3: the percentile-t bootstrap for trimmed means.
    """
    sample = np.asarray(values, dtype=np.float64)
    (centre,), (error,) = _location_and_error(sample[None])
    if len(sample) < 2:
        return Bounds(float(centre), -np.inf, np.inf)
    drawn = np.random.default_rng(0).integers(len(sample), size=(RESAMPLES, len(sample)))
    centres, errors = _location_and_error(sample[drawn])
    distances, rounding = np.abs(centres - centre), ROUNDING * float(np.abs(sample).max())
    with np.errstate(divide="ignore", invalid="ignore"):
        scores = np.where(distances <= rounding, 0.0, distances / errors)
    reach = error * float(np.quantile(scores, level, method="higher")) if error > rounding else 0.0
    return Bounds(float(centre), float(centre - reach), float(centre + reach))


def _location_and_error(samples: Floats) -> tuple[Floats, Floats]:
    """Return the trimmed mean of each row of (m, n), and its standard error from the winsorized variance, (m,) each."""
    ordered, count = np.sort(samples, axis=1), samples.shape[1]
    cut = int(TRIM * count)
    kept = ordered[:, cut : count - cut]
    winsorized = np.clip(ordered, kept[:, :1], kept[:, -1:])
    variance = winsorized.var(axis=1, ddof=1) if count > 1 else np.zeros(len(samples))
    share = kept.shape[1] / count
    return kept.mean(axis=1), np.sqrt(variance / count) / share
