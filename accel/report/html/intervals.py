"""Speed-ups with their bounds, drawn as a mark on a bar: left of the line is slower, right of it faster."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import isfinite, log
from typing import Any

from accel.report.formatting import ratio
from accel.report.html.markup import Markup, element

__all__ = ["Interval", "interval_of", "ratio_text", "scaled"]

Interval = tuple[float, float, float]
"""Lower bound, middle and upper bound of a speed ratio."""


def ratio_text(interval: Interval | None) -> str:
    """Return a speed-up and its bounds in words; `-` for None.

    >>> ratio_text((1.28, 1.31, 1.35))
    '1.31x (1.28 to 1.35)'
    """
    return "-" if interval is None else ratio(interval[1], interval[0], interval[2])


def interval_of(values: Mapping[str, Any] | None, middle: str) -> Interval | None:
    """Return the interval in a document: `low`, `high`, and the key of the middle; None for None."""
    return None if values is None else (float(values["low"]), float(values[middle]), float(values["high"]))


def scaled(intervals: Iterable[Interval | None]) -> list[Markup]:
    """Return a drawing of each interval, all on one logarithmic scale that has 1 on it; an empty one for None."""
    known = list(intervals)
    numbers = [log(value) for one in known if one is not None for value in one if value > 0 and isfinite(value)]
    low, high = min([*numbers, -0.1]), max([*numbers, 0.1])

    def place(value: float) -> float:
        return 100 * (min(max(log(value), low), high) - low) / (high - low) if value > 0 else 0.0

    drawings = []
    for one in known:
        if one is None:
            drawings.append(Markup(""))
            continue
        left, middle, right = map(place, one)
        marks = [
            element("u", style=f"left:{place(1.0):.2f}%"), element("i", style=f"left:{left:.2f}%;width:{right - left:.2f}%"),
            element("b", style=f"left:{middle:.2f}%"),
        ]  # fmt: skip
        drawings.append(element("div", *marks, class_="interval"))
    return drawings
