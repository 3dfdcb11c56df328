"""The metric that a setting names, and which end of it is better."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import inf, isfinite
from typing import Self

from accel.errors import nearest

__all__ = ["LOWER", "MetricChoice"]

LOWER = (
    "loss", "losses", "error", "errors", "err", "perplexity", "ppl", "nll", "bpc", "bpd", "bpb", "wer", "cer", "eer",
    "mae", "mse", "rmse", "rmsle", "msle", "mape", "smape", "mase", "entropy", "ce", "bce", "kl", "divergence", "distance",
    "fid", "kid", "lpips", "brier", "ece", "deviance", "residual", "regret",
)  # fmt: skip
"""Words in a metric's name that say that less is better."""
_STEMS = ("loss", "error", "perplexity", "bits_per")
"""Beginnings of names that say so too."""


@dataclass(frozen=True)
class MetricChoice:
    """Metric of an evaluation that something is decided by, and whether less of it is better."""

    metric: str
    lower: bool

    @classmethod
    def read(cls, text: str) -> Self:
        """Return the metric of a setting: `accuracy`, whose name says which end is better, or `min:NAME` and `max:NAME`."""
        end, colon, name = text.partition(":")
        if colon and end in ("min", "max"):
            return cls(name, end == "min")
        words = re.split(r"[\W_\d]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", text).lower())
        return cls(text, any(word in words for word in LOWER) or text.lower().rpartition("/")[2].startswith(_STEMS))

    @property
    def described(self) -> str:
        """The metric in words, such as `the highest accuracy`."""
        return f"the {'lowest' if self.lower else 'highest'} {self.metric}"

    def cost(self, metrics: Mapping[str, float | None]) -> float:
        """Return a number that is the lower, the better an evaluation is: infinite if it gives no finite value of the metric."""
        value = metrics.get(self.metric)
        if value is None or not isfinite(value):
            return inf
        return value if self.lower else -value

    def value(self, cost: float) -> float:
        """Return the value of the metric that has a finite cost."""
        return cost if self.lower else -cost

    def problem(self, setting: str, metrics: Mapping[str, float]) -> str:
        """Return a sentence if an evaluation gives no such metric, with the nearest that it gives; an empty text otherwise.

        Args:
            setting: name of the setting, such as `checkpoint.best`.
            metrics: of the evaluation.
        """
        if self.metric in metrics:
            return ""
        return f"{setting}={self.metric}: the evaluation gives {', '.join(metrics) or 'nothing'}{nearest(self.metric, metrics)}"
