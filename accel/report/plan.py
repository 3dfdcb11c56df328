"""The plan of a run, as a table and lines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from accel.report.formatting import setting

if TYPE_CHECKING:
    from accel.engine.make_plan import Plan

__all__ = ["LONGEST", "draw", "facts", "plugins", "settings"]

LONGEST = 48
"""The most characters of a single setting; a longer one is cut."""


def draw(plan: Plan) -> RenderableType:
    """Return the plugins with their settings, then the facts. Warnings are left out: Python's `warnings` have shown them."""
    return Group(plugins(plan), facts(plan.facts), "")


def plugins(plan: Plan) -> RenderableType:
    """Return a table with a row for each plugin."""
    if not plan.rows:
        return Text("no plugins: the plain loop\n", style="dim")
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold", padding=(0, 1))
    # rich marks what it cuts with a character that not every output can show; folding needs none
    table.add_column("plugin", style="cyan", overflow="fold")
    table.add_column("part", overflow="fold")
    table.add_column("settings", ratio=1, overflow="fold")
    table.add_column("status", max_width=30, overflow="fold")
    for row in plan.rows:
        status = Text(row.status, style="green" if row.status == "on" else "yellow")
        table.add_row(row.plugin, row.part, settings(row.settings), status)
    return Padding(table, (0, 0, 1, 0))


def settings(values: Mapping[str, Any]) -> Text:
    """Return settings as `lr=0.001, fused=true`."""
    shown = []
    for name, value in values.items():
        text = setting(value)
        text = text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."
        shown.append(f"{name}={text}")
    return Text(", ".join(shown))


def facts(values: Mapping[str, str]) -> RenderableType:
    """Return a grid of names and values, a line each."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", overflow="fold")
    grid.add_column(ratio=1, overflow="fold")
    for name, value in values.items():
        grid.add_row(name, Text(value))
    return grid
