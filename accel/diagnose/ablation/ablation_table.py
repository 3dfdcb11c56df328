"""The result of an ablation as a table and lines, for a terminal, a pipe and a notebook."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import TYPE_CHECKING

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from accel.compare import SpeedRatio
from accel.report.formatting import loss_change, ratio, size_change
from accel.report.record.ablation_notes import ablation_notes, outcome

if TYPE_CHECKING:
    from accel.diagnose.ablation.contribution import Ablation, Contribution

__all__ = ["COLUMNS", "cells", "html", "lines", "notes", "ratio_text"]

COLUMNS = ("plugin", "verdict", "speed beside the others", "speed alone", "memory", "loss")
STYLES = {"keep": "green", "neutral": "yellow", "harmful": "red"}


def lines(ablation: Ablation) -> RenderableType:
    """Return a table with a row for each plugin, what the numbers are, and the line to type."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold", padding=(0, 1))
    for name in COLUMNS:
        table.add_column(name, overflow="fold")
    for one in ablation.contributions:
        plugin, verdict, *rest = cells(one)
        table.add_row(Text(plugin), Text(verdict, style=STYLES.get(verdict, "")), *map(Text, rest))
    return Group(table, "", *(Text(line, style=style) for line, style in notes(ablation)))


def cells(one: Contribution) -> tuple[str, ...]:
    """Return the row of one contribution, in the order of `COLUMNS`."""
    loss = one.loss
    change = "-" if loss is None else loss_change(loss.difference, loss.base, loss.noise, loss.is_beyond_noise)
    return one.name, one.verdict or "unknown", ratio_text(one.speed), ratio_text(one.alone), size_change(one.memory), change


def ratio_text(speed: SpeedRatio | None) -> str:
    """Return how many times faster something is, and the bounds: `1.31x (1.28 to 1.35)`; `-` if it is not known.

    >>> ratio_text(SpeedRatio(1.31, 1.28, 1.35, 20))
    '1.31x (1.28 to 1.35)'
    """
    return "-" if speed is None else ratio(speed.ratio, speed.low, speed.high)


def notes(ablation: Ablation) -> Iterator[tuple[str, str]]:
    """Yield the lines below the table, each with its style in terms of rich: `bold` is what comes out of it."""
    document = ablation.to_dict()
    yield from ((line, {"warn": "yellow"}.get(style, style)) for line, style in ablation_notes(document))
    yield "", ""
    yield outcome(document), "bold"
    if ablation.command:
        yield ablation.command, ""


def html(ablation: Ablation) -> str:
    """Return table and lines as HTML for a notebook."""
    left = 'style="text-align: left"'  # a notebook puts the cells of a table to the right
    head = "".join(f"<th {left}>{name}</th>" for name in COLUMNS)
    rows = ("".join(f"<td {left}>{escape(cell)}</td>" for cell in cells(one)) for one in ablation.contributions)
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    below = "".join(
        f"<{tag}>{escape(line)}</{tag}>"
        for line, style in notes(ablation)
        for tag in ["pre" if line == ablation.command else "h4" if style == "bold" else "p"]
        if line
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{below}"
