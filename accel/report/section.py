"""A table that a watch adds to what a run came to."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Section:
    """Rows of plain values under a title; all rows have the same columns.

    The last word of a column's name is the unit of its values, where they have one: `self ms`, `peak bytes`, `share percent`.
    """

    title: str
    rows: list[dict[str, str | int | float]] = field(default_factory=list)
