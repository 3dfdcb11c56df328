"""Exports of a run in tables, for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table

from accel.report.record.export_cells import SPEED_COLUMNS, cells, columns, speed_rows

__all__ = ["export_table", "speed_table"]


def export_table(outcomes: Sequence[Mapping[str, Any]]) -> Table:
    """Return a table with a row for each outcome. Latency is of one sample, by turns with torch."""
    return _table(columns(outcomes), [cells(outcome) for outcome in outcomes], 2)


def speed_table(outcomes: Sequence[Mapping[str, Any]]) -> Table | None:
    """Return a table with a row for each time that was measured; None if there is none."""
    rows = speed_rows(outcomes)
    return _table(SPEED_COLUMNS, rows, 1) if rows else None


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]], words: int) -> Table:
    """Return a table whose first columns are words, and all others numbers. Headings are folded, cells are not."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold", padding=(0, 1), collapse_padding=True)
    for place, name in enumerate(headings):
        cell_width = max([len(row[place]) for row in rows], default=0)
        heading = name.replace(" ", "\n") if len(name) > max(cell_width, 6) else name
        table.add_column(heading, justify="left" if place < words else "right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    return table
