"""How much worse an export is than the torch model by the metrics of the task."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

__all__ = ["MetricDrop", "metric_drop"]


class MetricDrop(NamedTuple):
    """By how much a metric is worse."""

    metric: str
    amount: float
    """Points of an accuracy, hundredths of one; of a loss, the rise in percent of it. Negative where the export is better."""
    unit: str


def metric_drop(expected: Mapping[str, float], actual: Mapping[str, float]) -> MetricDrop | None:
    """Return the drop of the accuracy, of the worst one if there are several; without one, of the loss; None without either.

    Args:
        expected: metrics of the torch model.
        actual: those of the export.
    """
    if drops := _drops("accuracy", expected, lambda name: 100 * (expected[name] - actual[name])):
        return MetricDrop(*_worst(drops), "points")
    if drops := _drops("loss", expected, lambda name: 100 * (actual[name] - expected[name]) / (abs(expected[name]) or 1.0)):
        return MetricDrop(*_worst(drops), "percent")
    return None


def _drops(word: str, metrics: Mapping[str, float], drop: Callable[[str], float]) -> dict[str, float]:
    return {name: drop(name) for name in metrics if word in name}


def _worst(drops: Mapping[str, float]) -> tuple[str, float]:
    """Return the name and the amount of the largest drop. What is no number is larger than any."""
    return max(drops.items(), key=lambda item: (item[1] != item[1], item[1]))
