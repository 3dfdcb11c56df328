"""Exports of a run in one table, for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table

from accel.report.record.export_cells import COLUMNS, cells

__all__ = ["export_table"]


def export_table(outcomes: Sequence[Mapping[str, Any]]) -> Table:
    """Return a table with a row for each outcome. Latency is of one sample, by turns with torch in eager mode."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold", padding=(0, 1))
    for place, name in enumerate(COLUMNS):
        table.add_column(name, justify="left" if place < 2 else "right", overflow="fold", no_wrap=place < 2)
    for outcome in outcomes:
        table.add_row(*cells(outcome))
    return table
