"""Rows of equal layers, those that take most time, in as many columns as the page is wide for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from accel.diagnose.layers.layer_table import Layer, LayerTable
from accel.report.formatting import short_count, size

__all__ = ["COLUMNS", "ROWS", "LayerRows", "equal_layers", "group_name"]

ROWS = 15
"""Layers in the table, those that take most time; JSON has all."""
COLUMNS = ("layer", "n", "kind", "FLOP", "moved", "FLOP/B", "bound by", "fwd ms", "bwd ms", "share", "x roof")
FIRST_TO_GO = ("kind", "FLOP/B", "moved", "FLOP", "bwd ms", "fwd ms", "bound by", "n")
"""Columns that a narrow page goes without, in this order."""
NAME, KIND = 28, 14
"""Characters of a layer's name for which there is to be room, and of its kind."""
GAP = 2
"""Characters between two columns."""


@dataclass(frozen=True)
class LayerRows:
    """Table of layers: a row for each group of equal ones that take most time, in the order of the model; one for the others.

    Args:
        table: of the layers.
    """

    table: LayerTable

    def rows(self) -> list[dict[str, str]]:
        """Return the cells of each row, by the name of the column; the last is that of the others, if there are any."""
        groups = equal_layers(self.table.layers)
        shown = sorted(groups, key=lambda group: -sum(layer.seconds for layer in group))[:ROWS]
        rows = [self._cells(group, group_name(group), group[0].kind) for group in groups if group in shown]
        others = [layer for group in groups if group not in shown for layer in group]
        return rows + ([self._cells(others, "others", "")] if others else [])

    def _cells(self, layers: Sequence[Layer], name: str, kind: str) -> dict[str, str]:
        """Return the numbers of some layers together."""
        ceilings = self.table.ceilings
        flops, moved, seconds = (sum(getattr(layer, name) for layer in layers) for name in ("flops", "bytes", "seconds"))
        roof = sum(layer.roof_seconds(ceilings) for layer in layers)
        bounds = {layer.bound(ceilings) for layer in layers if layer.bytes}
        bound = bounds.pop() if len(bounds) == 1 else ""
        work = (short_count(flops), size(moved), f"{flops / moved:.1f}", bound) if moved else ("-",) * 4
        forward, backward = sum(one.forward_seconds for one in layers), sum(one.backward_seconds for one in layers)
        times = f"{1000 * forward:.2f}", f"{1000 * backward:.2f}" if backward else "-"
        last = f"{self.table.share(seconds):.1%}", f"{seconds / roof:.1f}" if roof else "-"
        return dict(zip(COLUMNS, (name, str(len(layers)), _shortened(kind), *work, *times, *last), strict=True))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        rows = self.rows()
        columns = fitting_columns(rows, options.max_width)
        room = options.max_width - others_width(rows, columns)
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold", padding=(0, GAP - 1, 0, 0))
        for name in columns:
            justify: Literal["left", "right"] = "left" if name in ("layer", "kind") else "right"
            table.add_column(name, justify=justify, no_wrap=name != "layer", overflow="fold")
        for row in rows:
            cells = {**row, "layer": in_lines(row["layer"], room)}
            table.add_row(*(cells[name] for name in columns), style="dim" if row["layer"] == "others" else None)
        yield table
        left_out = [name for name in COLUMNS if name not in columns]
        if left_out:
            yield Text(f"without {', '.join(left_out)}, for which it is too narrow here; --json has them", style="dim")


def fitting_columns(rows: Sequence[dict[str, str]], width: int) -> list[str]:
    """Return the columns that fit beside the names of the layers, in order.

    Args:
        rows: cells by column.
        width: of the page, in characters.
    """
    columns, room = list(COLUMNS), min(NAME, _widest(rows, "layer"))
    for name in FIRST_TO_GO:
        if room + others_width(rows, columns) <= width:
            break
        columns.remove(name)
    return columns


def others_width(rows: Sequence[dict[str, str]], columns: Sequence[str]) -> int:
    """Return the characters that columns take beside the names of the layers."""
    return sum(GAP + _widest(rows, name) for name in columns if name != "layer")


def in_lines(path: str, width: int) -> str:
    """Return a path in lines that end at its dots, where it is longer than a width.

    >>> in_lines("encoder.layers.*.attention", 17).splitlines()
    ['encoder.layers.*.', 'attention']
    """
    lines = [""]
    for part in re.findall(r"[^.]*\.?", path):
        if lines[-1] and len(lines[-1]) + len(part) > width:
            lines.append("")
        lines[-1] += part
    return "\n".join(lines)


def _widest(rows: Iterable[dict[str, str]], column: str) -> int:
    """Return the characters of the widest cell of a column, its head included."""
    return max(len(column), *(len(row[column]) for row in rows), 0)


def _shortened(kind: str) -> str:
    """Return the name of a class as far as there is room for it."""
    return kind if len(kind) <= KIND else f"{kind[: KIND - 1]}…"


def equal_layers(layers: Sequence[Layer]) -> list[list[Layer]]:
    """Return layers in groups of those that do the same work at the same place of a repeated block."""
    groups: dict[tuple[str, str, int, int], list[Layer]] = {}
    for layer in layers:
        groups.setdefault((_pattern(layer.path), layer.kind, layer.flops, layer.bytes), []).append(layer)
    return list(groups.values())


def _pattern(path: str) -> str:
    """Return a path with a star for each number in it."""
    return re.sub(r"\d+", "*", path)


def group_name(group: Sequence[Layer]) -> str:
    """Return the name of a group: the path of a single layer; of several with a star where they differ."""
    parts = zip(*(re.split(r"(\d+)", layer.name) for layer in group), strict=True)
    return "".join(texts[0] if len(set(texts)) == 1 else "*" for texts in parts)
