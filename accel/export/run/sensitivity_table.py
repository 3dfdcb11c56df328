"""The sensitivity of layers in a table, for a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.table import Table

__all__ = ["sensitivity_table"]

ROWS = 12
"""Layers that are shown, the most sensitive first; the card has all."""


def sensitivity_table(quantisation: Mapping[str, Any]) -> Table:
    """Return a table of layers and the error that each makes alone, from the card of an export."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold", padding=(0, 1))
    table.add_column("layer", overflow="fold")
    table.add_column("error alone", justify="right")
    table.add_column("")
    for name, error in list(quantisation["sensitivity"].items())[:ROWS]:
        table.add_row(name or "the model itself", f"{100 * error:.2g} %", "float" if name in quantisation["floats"] else "8 bits")
    if (left := len(quantisation["sensitivity"]) - ROWS) > 0:
        table.add_row(f"{left} more in card.json", "", "")
    return table
