"""Predictions in the form in which they are printed, a batch of them at a time."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from io import StringIO
from typing import Any

from accel.report.formatting import number
from accel.report.result import finite

__all__ = ["PredictionTable"]

GAP = "  "


class PredictionTable:
    """Writer of rows as a table, as JSON lines or as CSV. The first row has the columns of all.

    Args:
        form: `table`, `jsonl` or `csv`.
    """

    def __init__(self, form: str) -> None:
        self.form = form
        self.columns: list[str] = []
        self.widths: list[int] = []

    def text(self, rows: Sequence[dict[str, Any]]) -> str:
        """Return the lines of some rows, in order; before the first of all, the names of the columns."""
        if self.form == "jsonl":
            return "".join(f"{json.dumps(finite(row), ensure_ascii=False, default=str)}\n" for row in rows)
        head: list[list[Any]] = [] if self.columns or not rows else [list(rows[0])]
        self.columns = self.columns or head[0]
        lines = [*head, *([row.get(name) for name in self.columns] for row in rows)]
        return self._csv(lines) if self.form == "csv" else self._table(lines)

    def _csv(self, lines: Sequence[Sequence[Any]]) -> str:
        stream = StringIO()
        csv.writer(stream, lineterminator="\n").writerows(lines)
        return stream.getvalue()

    def _table(self, lines: Sequence[Sequence[Any]]) -> str:
        """Return lines in columns; one that has grown too narrow for a later row is as wide as that from there on."""
        cells = [[_cell(value) for value in line] for line in lines]
        longest = [max(map(len, column)) for column in zip(*cells, strict=True)]
        self.widths = list(map(max, longest, self.widths or [0] * len(longest)))
        padded = [GAP.join(f"{cell:<{width}}" for cell, width in zip(line, self.widths, strict=True)) for line in cells]
        return "".join(f"{line.rstrip()}\n" for line in padded)


def _cell(value: Any) -> str:
    """Return a value on one line, a float with about four digits."""
    text = number(value) if isinstance(value, float) else "" if value is None else str(value)
    return text.replace("\n", "\\n").replace("\t", "\\t")
