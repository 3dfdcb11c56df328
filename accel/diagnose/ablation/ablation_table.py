"""The result of an ablation as a table and lines, for a terminal, a pipe and a notebook."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import TYPE_CHECKING

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from accel.compare import LEVEL, MIN_SEEDS, SpeedRatio
from accel.report.formatting import elapsed, loss_change, ratio, size_change
from accel.report.other_load import BUSY

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
    """Yield the lines below the table, each with its style."""
    for one in ablation.contributions:
        if one.refusal:
            yield f"{one.name}: {one.refusal}", "yellow"
        if reason := _kept_for(one, ablation):
            yield f"{one.name}: {reason}", ""
    if ablation.together is not None and len(ablation.contributions) > 1:
        yield f"all together: {ratio_text(ablation.together)}", ""
    yield (
        f"speed: the run with the plugin over the run without it, and the bounds that hold it with {LEVEL:.0%}; beside the others, "
        "and alone",
        "dim",
    )
    if ablation.updates:
        by_loss = [one.name for one in ablation.contributions if one.judged_by == "loss"]
        equal = f"; for {', '.join(by_loss)} after equal time, which decides" if by_loss else ""
        yield (
            f"loss: with the plugin less without it, after {ablation.updates} updates from the same state{equal}; mean of "
            f"{ablation.seeds} seeds, and how far these lie apart without it; below 0 it is lower with the plugin",
            "dim",
        )
    if any(one.memory for one in ablation.contributions):
        yield "memory: of tensors in an update, with the plugin less without it", "dim"
    if 0 < ablation.seeds < MIN_SEEDS:
        yield f"fewer than {MIN_SEEDS} seeds tell no difference of losses", "yellow"
    facts = ", ".join(f"{name} {value}" for name, value in ablation.machine.items())
    yield f"measured in {elapsed(ablation.seconds)}; {facts}", "dim"
    if (ablation.busy or 0.0) >= BUSY:
        taken = f"other processes took {ablation.busy:.0f} % of the cores"
        yield f"the machine was busy: {taken}, which widens the bounds; measure again when it is quiet", "yellow"
    yield "", ""
    yield f"keep {', '.join(ablation.kept) or 'none'}{_gone(ablation)}", "bold"
    if ablation.command:
        yield ablation.command, ""


def _kept_for(one: Contribution, ablation: Ablation) -> str:
    """Return why a plugin without a verdict for it is kept, in words; empty if it is not, or its verdict says so."""
    if one.verdict == "neutral" and one.saves_memory:
        return "slower or no faster, and saves memory: keep it if the run needs that"
    if one.judged_by == "speed" or not set(one.plugins) <= set(ablation.kept):
        return ""
    if one.verdict == "neutral":
        return f"kept, for {ablation.updates} updates tell nothing of what it does to the loss"
    return "kept, for it changes what is learnt, and no losses were compared" if one.verdict is None and not one.refusal else ""


def _gone(ablation: Ablation) -> str:
    """Return which plugins go, and what that changes, in words."""
    if not ablation.left_out:
        return ""
    speed = "" if ablation.kept_speed is None else f", {ratio_text(ablation.kept_speed)} of the speed with all"
    return f"; leave out {', '.join(ablation.left_out)}{speed}"


def html(ablation: Ablation) -> str:
    """Return table and lines as HTML for a notebook."""
    head = "".join(f"<th>{name}</th>" for name in COLUMNS)
    rows = ("".join(f"<td>{escape(cell)}</td>" for cell in cells(one)) for one in ablation.contributions)
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    below = "".join(
        f"<{tag}>{escape(line)}</{tag}>"
        for line, style in notes(ablation)
        for tag in ["pre" if line == ablation.command else "h4" if style == "bold" else "p"]
        if line
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{below}"
