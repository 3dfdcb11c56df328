"""The metric by which a checkpoint is the best."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf

from accel.checkpoints.manifest import Manifest
from accel.report.record.metric_choice import MetricChoice

__all__ = ["BestMetric"]


@dataclass(frozen=True)
class BestMetric(MetricChoice):
    """Metric by which a checkpoint is the best, and whether less of it is better."""

    def of(self, manifests: Mapping[str, Manifest]) -> str | None:
        """Return the name of the best checkpoint, the first of equals; None if no evaluation gave the metric."""
        costs = [(self.cost(manifests[name].metrics), name) for name in sorted(manifests)]
        cost, best = min(costs, default=(inf, ""))
        return best if cost < inf else None

    def improves(self, metrics: Mapping[str, float | None], others: Iterable[Mapping[str, float | None]]) -> bool:
        """Return whether an evaluation is better than all others. NaN and infinity never are, and nothing is worse than they."""
        return self.cost(metrics) < min(map(self.cost, others), default=inf)

    def is_due(self, history: Sequence[Mapping[str, float]]) -> bool:
        """Return whether the last evaluation is better than all before it, or lacks the metric, which saving reports."""
        return bool(history) and (self.metric not in history[-1] or self.improves(history[-1], history[:-1]))

    def missing(self, metrics: Mapping[str, float], evaluations: Iterable[Mapping[str, float]] = ()) -> str:
        """Return a sentence if neither this evaluation nor an earlier one gives such a metric; an empty text otherwise."""
        if not metrics or any(self.metric in given for given in (metrics, *evaluations)):
            return ""
        return self.problem("checkpoint.best", metrics)
