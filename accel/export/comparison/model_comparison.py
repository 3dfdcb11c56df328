"""What came of a comparison of two models, as values and in lines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from accel.export.comparison.paired_model import MOST, Disagreement
from accel.report.result import finite

__all__ = ["ModelComparison"]


@dataclass(frozen=True)
class ModelComparison:
    """Two models on the same held-out data."""

    split: str
    """Name of the data."""
    samples: int | None
    """How many there were; None if the data does not tell."""
    metrics: tuple[Mapping[str, float], Mapping[str, float]]
    """Metrics of both."""
    largest: float
    """Largest difference of an output."""
    share: float
    """The same as a share of the largest output of the first."""
    mean: float
    """Mean difference."""
    place: str
    """The output with the largest difference."""
    agreement: float | None
    """Share of rows whose largest score is in the same place; None without scores."""
    disagreements: tuple[Disagreement, ...]
    """The first samples where it is not."""
    classes: tuple[str, ...]
    """Names of the classes, in the order of the scores; empty without classes."""
    remarks: tuple[str, ...] = ()
    """Sentences on samples that could not be read."""

    def class_name(self, place: int) -> str:
        """Return the name of a class, or its number."""
        return self.classes[place] if place < len(self.classes) else str(place)

    def lines(self) -> list[str]:
        """Return how far the outputs differ, and on which samples the classes do."""
        lines = [f"outputs differ by {self.share:.2g} of the largest, by {self.mean:.2g} on average"]
        if self.agreement is not None:
            lines[0] += f"; the top class agrees in {100 * self.agreement:.2f} %"
        if self.disagreements:
            shown = [f"{one.sample} ({self.class_name(one.one)}, {self.class_name(one.two)})" for one in self.disagreements]
            first = f"the first {MOST} samples" if len(shown) == MOST else "the samples"
            lines.append(f"{first} of {self.split} with another top class, counted from 0: {', '.join(shown)}")
        return [*lines, *self.remarks]

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON holds it, numbers that are not finite as null."""
        differing = [
            {"sample": one.sample, "classes": [self.class_name(one.one), self.class_name(one.two)]} for one in self.disagreements
        ]
        plain: dict[str, Any] = finite({
            "split": self.split, "samples": self.samples, "largest": self.largest, "share": self.share, "mean": self.mean,
            "place": self.place, "agreement": self.agreement, "disagreements": differing, "remarks": list(self.remarks),
        })  # fmt: skip
        return plain
