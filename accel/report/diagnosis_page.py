"""The diagnosis of a run, as lines, tables and a page for a notebook."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from accel.report.formatting import elapsed, size_change
from accel.report.machine_facts import machine_facts
from accel.report.plan import facts
from accel.report.record.diagnosis_notes import no_remedy, unknowns
from accel.report.summary import phases
from accel.report.visible_console import VisibleConsole, html_block, text_block

if TYPE_CHECKING:
    from accel.diagnose.decision.remedies import Remedy
    from accel.diagnose.diagnosis import Diagnosis

__all__ = ["WIDTH", "applied_lines", "as_html", "as_text", "draw", "remedy_table", "show", "typed_lines"]

WIDTH = 110
"""Columns of the page in a notebook."""
ACTIVITIES = {
    "data": "the wait for data", "forward": "the forward pass", "backward": "the backward pass", "update": "the update",
    "evaluation": "evaluation", "watches": "watches",
}  # fmt: skip
"""What `RunFigures.lines` are of, in words."""
CHANGED = {"nothing": "nothing", "rounding": "rounding", "recipe": "the recipe"}


def draw(diagnosis: Diagnosis) -> RenderableType:
    """Return the page: machine, states, where the time goes, the verdict, remedies. What to type for them is `typed_lines`."""
    blocks: list[RenderableType] = ["", Text("this machine", style="bold"), Padding(facts(machine_facts(diagnosis)), (0, 0, 0, 2))]
    for state in diagnosis.states:
        blocks += [Text(f"  {state.problem}", style="yellow"), Text(f"    mended by  {state.mend}")]
    step = 1000 * diagnosis.split.total
    samples = diagnosis.figures.samples
    title = f"this run: {step:.3g} ms an update of {samples:,} samples, {1000 * samples / step:,.0f} samples/s"
    blocks += ["", Text(title, style="bold"), Padding(phases(diagnosis.shares), (0, 0, 0, 2))]
    blocks += [Text(f"  {line}", style="dim") for line in notes(diagnosis)]
    blocks += ["", Text(diagnosis.verdict.sentence, style="bold")]
    if diagnosis.remedies:
        blocks += ["", Padding(remedy_table(diagnosis.remedies), (0, 0, 0, 2))]
    else:
        blocks += ["", Text(no_remedy(diagnosis.left_out))]
    return Group(*blocks)


def remedy_table(remedies: list[Remedy]) -> RenderableType:
    """Return a table with a row for each remedy: the predicted speed-up and its bounds, its ceiling, what it changes and takes."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold", padding=(0, 1))
    table.add_column("", justify="right")
    table.add_column("remedy", overflow="fold")
    for name in ("predicted", "between", "at most", "changes", "memory"):
        table.add_column(name, justify="right", overflow="fold")
    for number, remedy in enumerate(remedies, start=1):
        change, speed_up = remedy.change, remedy.speed_up
        ceiling = f"{remedy.ceiling:.2f}x" if remedy.ceiling < 100 else "-"
        predicted = ("-", "-") if speed_up is None else (f"{speed_up.middle:.2f}x", f"{speed_up.low:.2f} to {speed_up.high:.2f}")
        name, changed, memory = change.name.replace("_", " "), CHANGED[change.changes], size_change(change.memory)
        table.add_row(str(number), name, *predicted, ceiling, changed, memory)
    return table


def typed_lines(remedies: list[Remedy]) -> list[str]:
    """Return a line for each remedy: what is typed, and what it does, as a comment."""
    return [
        f"  {number}  {remedy.change.typed}" + (f"  # {remedy.change.note}" if remedy.change.note else "")
        for number, remedy in enumerate(remedies, start=1)
    ]


def applied_lines(diagnosis: Diagnosis) -> list[str]:
    """Return what came of trying the remedies, a line each; none if that was not asked for."""
    if diagnosis.applied is None:
        return []
    lines = diagnosis.applied.lines or ["nothing, for no remedy was worth it"]
    return ["", "tried", *(f"  {line}" for line in lines)]


def notes(diagnosis: Diagnosis) -> list[str]:
    """Return what else was seen: numbers read on the host, lines that take much of a time, and what there was no time for."""
    figures = diagnosis.figures
    reads = [f"{number:g} read on the host in an update: {line}" for line, number in figures.host_reads.items()]
    lines = [f"numbers {reads[0]}"] + [f"        {read}" for read in reads[1:4]] if reads else []
    lines += [f"{100 * line.share:.0f} % of {ACTIVITIES[name]} in {line.text}" for name, line in figures.lines.items()]
    if figures.fit is not None:
        fit = figures.fit
        lines.append(f"a batch of n samples: {1000 * fit.overhead:.3g} ms + n x {1e6 * fit.per_sample:.3g} us")
    lines += [f"the watch {name} was not measured: {why}" for name, why in figures.unmeasured.items()]
    lines += unknowns(diagnosis.left_out, diagnosis.unmeasured)
    return [*lines, f"measured in {elapsed(diagnosis.seconds)}, and undone"]


def as_text(diagnosis: Diagnosis) -> str:
    """Return the page as plain lines."""
    return text_block(lambda console: show(console, diagnosis), WIDTH)


def as_html(diagnosis: Diagnosis) -> str:
    """Return the page as a block of HTML with styles of its own, in the reader's colours."""
    return html_block(lambda console: show(console, diagnosis), WIDTH)


def show(console: VisibleConsole, diagnosis: Diagnosis) -> None:
    """Print the page; what is to be typed stands unwrapped, to be copied."""
    console.print(draw(diagnosis))
    if diagnosis.remedies:
        console.print("", *typed_lines(diagnosis.remedies), sep="\n", soft_wrap=True)
    if lines := applied_lines(diagnosis):
        console.print(*lines, sep="\n", soft_wrap=True)
