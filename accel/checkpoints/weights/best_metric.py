"""The metric by which a checkpoint is the best."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf, isfinite

from accel.checkpoints.manifest import Manifest
from accel.errors import nearest

__all__ = ["LOWER", "BestMetric"]

LOWER = (
    "loss", "losses", "error", "errors", "err", "perplexity", "ppl", "nll", "bpc", "bpd", "bpb", "wer", "cer", "eer",
    "mae", "mse", "rmse", "rmsle", "msle", "mape", "smape", "mase", "entropy", "ce", "bce", "kl", "divergence", "distance",
    "fid", "kid", "lpips", "brier", "ece", "deviance", "residual", "regret",
)  # fmt: skip
"""Words in a metric's name that say that less is better."""
_STEMS = ("loss", "error", "perplexity", "bits_per")
"""Beginnings of names that say so too."""


@dataclass(frozen=True)
class BestMetric:
    """Metric by which a checkpoint is the best, and whether less of it is better."""

    metric: str
    lower: bool

    @staticmethod
    def read(text: str) -> BestMetric:
        """Return the metric of a setting: `accuracy`, whose name says which end is better, or `min:NAME` and `max:NAME`."""
        end, colon, name = text.partition(":")
        if colon and end in ("min", "max"):
            return BestMetric(name, end == "min")
        words = re.split(r"[\W_\d]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", text).lower())
        return BestMetric(text, any(word in words for word in LOWER) or text.lower().startswith(_STEMS))

    @property
    def described(self) -> str:
        """The metric in words, such as `the highest accuracy`."""
        return f"the {'lowest' if self.lower else 'highest'} {self.metric}"

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

    def cost(self, metrics: Mapping[str, float | None]) -> float:
        """Return a number that is the lower, the better an evaluation is: infinite if it gives no finite value of the metric."""
        value = metrics.get(self.metric)
        if value is None or not isfinite(value):
            return inf
        return value if self.lower else -value

    def missing(self, metrics: Mapping[str, float], evaluations: Iterable[Mapping[str, float]] = ()) -> str:
        """Return a sentence if neither this evaluation nor an earlier one gives such a metric; an empty text otherwise."""
        if not metrics or any(self.metric in given for given in (metrics, *evaluations)):
            return ""
        names = ", ".join(metrics)
        return f"checkpoint.best={self.metric}: the evaluation gives {names}{nearest(self.metric, metrics)}"
