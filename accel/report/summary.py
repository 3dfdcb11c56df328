"""The summary of a run, as lines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from accel.report.formatting import cell, elapsed, metric, number, rounded_percentages, suggestions_text

if TYPE_CHECKING:
    from accel.report.result import Result

__all__ = ["BAR", "SHOWN", "amount", "draw", "group_by_folder", "headline", "phases", "scores_line", "table"]

BAR = 40
"""The width of 100 % in characters."""
SHOWN = 0.05
"""Seconds of drawing that are worth a line."""


def draw(result: Result) -> RenderableType:
    """Return the metrics, the work done, the use of time, the tables of the watches and the files; a dry run has one line."""
    if result.dry:
        return Text("dry run: everything was built and one update made; nothing was written")
    blocks: list[RenderableType] = ["", headline(result), Text(amount(result), style="dim")]
    if result.divergence:
        blocks.append(Text(result.divergence, style="bold red"))
    blocks += [Text(remark) for remark in result.remarks]
    if suggested := suggestions_text(result.suggestions):
        blocks.append(Text(suggested))
    if result.shares:
        blocks += ["", "where the time went", Padding(phases(result.shares), (0, 0, 0, 2))]
    if result.drawing >= SHOWN:
        aside = f"  and {elapsed(result.drawing)} for drawing curves and report, which is no part of the run"
        blocks.append(Text(aside, style="dim"))
    if result.flow is not None:
        blocks += ["", Text(result.flow.text())]
    if result.verdict and not (result.flow is not None and result.flow.bound and result.verdict.startswith("data-bound")):
        blocks.append(Text(result.verdict))
    for section in result.sections.values():
        blocks += ["", Text(section.title)]
        if section.rows:
            blocks.append(Padding(table(section.rows), (0, 0, 0, 2)))
    if result.files:
        blocks += ["", Text(f"written to {result.out}"), Padding(Text(", ".join(group_by_folder(result.files))), (0, 0, 0, 2))]
    return Group(*blocks)


def headline(result: Result) -> Text:
    """Return `test accuracy 0.9861  test loss 0.0512`; the last training loss if nothing was evaluated."""
    if not result.metrics:
        return Text(f"training loss {number(result.loss)}", style="bold")
    return Text(scores_line(result.split, result.metrics), style="bold")


def scores_line(split: str, metrics: Mapping[str, float]) -> str:
    """Return the metrics in a line, that of the minimised loss last: people look for the others."""
    ordered = sorted(metrics, key=lambda name: name == "loss")
    return "  ".join(f"{metric(split, name)} {number(metrics[name])}" for name in ordered)


def amount(result: Result) -> str:
    """Return the work done, and the time it took, in a line."""
    skipped = f" ({result.skipped:,} skipped)" if result.skipped else ""
    epochs = f"{result.epochs} epoch{'s' * (result.epochs != 1)}"
    updates = f"{result.updates:,} update{'s' * (result.updates != 1)}{skipped}"
    ended = f"; ended early: {result.stopped}" if result.stopped else ""
    return f"{epochs}, {updates}, {result.samples:,} samples; this run took {elapsed(result.seconds)}{ended}"


def phases(shares: Mapping[str, float]) -> RenderableType:
    """Return a grid with a bar for each phase; the percentages shown add up to 100.0."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column()
    grid.add_column(justify="right")
    grid.add_column()
    for phase, share in rounded_percentages(shares).items():
        width = round(BAR * share / 100)
        bar: RenderableType = ProgressBar(total=1, completed=1, width=width, finished_style="cyan") if width else ""
        grid.add_row(phase, f"{share:.1f} %", bar)
    return grid


def table(rows: Sequence[Mapping[str, str | int | float]]) -> RenderableType:
    """Return the rows of a section; numbers stand to the right, sizes and shares in the units that people read."""
    first = rows[0]
    plain = len(first) == 2 and any(name.endswith(("bytes", "percent")) for name in first)  # a name and a size need no heading
    grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim", show_header=not plain)
    for name, value in first.items():
        heading = name.removesuffix(" bytes").removesuffix(" percent")
        grid.add_column(heading, justify="left" if isinstance(value, str) else "right", overflow="fold")
    for row in rows:
        grid.add_row(*(Text(cell(name, value)) for name, value in row.items()))
    return grid


def group_by_folder(files: list[str]) -> list[str]:
    """Return the files by name, with files in a folder counted: `checkpoints/ (4 files)`."""
    count = Counter(name.partition("/")[0] for name in files)
    return [name if name in files else f"{name}/ ({number} file{'s' * (number != 1)})" for name, number in sorted(count.items())]
