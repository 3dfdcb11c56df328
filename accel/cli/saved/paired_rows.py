"""Predictions of two models in one row for each file, and in how many of them they agree."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from accel.engine.loading.predict import Predictor

__all__ = ["PairedRows"]


class PairedRows:
    """Predictor of two models, which counts where they agree.

    Args:
        one: predictor of the first, whose columns come first.
        two: predictor of the second, whose columns are called `other_NAME`.
    """

    def __init__(self, one: Predictor, two: Predictor) -> None:
        self.one, self.two, self.task = one, two, one.task
        self.alike = self.count = 0
        self.largest = 0.0

    def rows(self, samples: Sequence[Any]) -> list[dict[str, Any]]:
        """Return the predictions of samples by both, and whether they are the same. Raise ConfigError as Predictor does."""
        rows = []
        for first, second in zip(self.one.rows(samples), self.two.rows(samples), strict=True):
            column = next(iter(first), "")
            same = first.get(column) == second.get(column) if column == "class" else first == second
            self.alike += same
            self.count += 1
            numbers = [name for name, value in first.items() if isinstance(value, float) and isinstance(second.get(name), float)]
            self.largest = max([self.largest, *(abs(first[name] - second[name]) for name in numbers)])
            rows.append({**first, **{f"other_{name}": value for name, value in second.items()}, "same": same})
        return rows

    def line(self) -> str:
        """Return in how many files both predict the same."""
        difference = f"; numbers differ by {self.largest:.2g} at most" if self.largest else ""
        return f"the same in {self.alike:,} of {self.count:,} files{difference}"
