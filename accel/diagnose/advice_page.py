"""The advice on a model, as lines, tables and a page for a notebook."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from accel.diagnose.layer_rows import LayerRows
from accel.report.formatting import elapsed, gain_text, size
from accel.report.other_load import BUSY
from accel.report.plan import facts
from accel.report.visible_console import VisibleConsole, html_block, text_block

if TYPE_CHECKING:
    from accel.diagnose.advice import Advice
    from accel.diagnose.findings.finding import Finding

__all__ = ["WIDTH", "advice_facts", "as_html", "as_text", "draw", "finding_lines", "flop_text", "show"]

WIDTH = 120
"""Columns of the page in a notebook and in a file."""


def draw(advice: Advice) -> RenderableType:
    """Return the page: machine and totals, the layers that take most time, findings."""
    blocks: list[RenderableType] = ["", Text(f"{advice.model}, {advice.samples}", style="bold")]
    blocks += [Padding(facts(advice_facts(advice)), (0, 0, 0, 2)), "", Padding(LayerRows(advice.table), (0, 0, 0, 2))]
    blocks += [Padding(Text(line, style="dim"), (0, 0, 0, 2)) for line in notes(advice)]
    if not advice.findings:
        return Group(*blocks, "", Text("nothing in the model that the rules know of would make it faster", style="bold"))
    blocks += ["", Text("findings", style="bold")]
    for number, finding in enumerate(advice.findings, start=1):
        first, *rest = finding_lines(finding)
        blocks.append(Padding(facts({f"{number:>2}": "\n".join([first, *rest])}), (0, 0, 0, 2)))
    return Group(*blocks)


def advice_facts(advice: Advice) -> dict[str, str]:
    """Return machine and totals in words, by name."""
    table, ceilings = advice.table, advice.table.ceilings
    products = ", ".join(f"{name} {flop_text(speed)}/s" for name, speed in ceilings.products.items())
    threads = f", {ceilings.threads} thread{'s' * (ceilings.threads > 1)}" if table.device == "cpu" else ""
    where = "forward and backward" if table.trains else "forward"
    low, high = (f"{1000 * seconds:.3g}" for seconds in advice.spread)
    roof = sum(layer.roof_seconds(ceilings) for layer in advice.layers)
    gap = f", {table.operator_seconds / roof:.1f}x its roof" if roof else ""
    return {
        "machine": f"{ceilings.device}{threads}",
        "ceilings": f"products {products}; copies {size(ceilings.memory)}/s, {size(max(ceilings.copies.values()))}/s in a cache; "
        f"a call {1e6 * ceilings.call:.2g} us ({advice.ceilings_source})",
        "model": f"{advice.parameters:,} parameters",
        "a pass": f"{where}, {1000 * table.seconds:.3g} ms ({low} to {high} in {advice.passes} passes), "
        f"{len(table.operations):,} operators, timed one by one, take {1000 * table.operator_seconds:.3g} ms{gap}",
        "work": f"{flop_text(advice.flops)}, {size(advice.bytes)} moved, {advice.flops / max(1, advice.bytes):.1f} FLOP/B; "
        f"{flop_text(advice.flops / table.seconds)}/s",
    }


def flop_text(count: float) -> str:
    """Return a number of floating-point operations: 950 FLOP, 1.2 MFLOP, 139 GFLOP.

    >>> flop_text(343e6)
    '343 MFLOP'
    """
    return f"{size(count)[:-1]}FLOP"


def notes(advice: Advice) -> list[str]:
    """Return how the numbers are to be read, and how they came about."""
    lines = [f"{advice.convention}.", "x roof: the time over the least that the ceilings allow."]
    if "compile" in advice.table.plugins:
        lines.append("compile is on, and left out here: the layers are those of the model as it is written")
    if advice.uncounted:
        lines.append(f"work that nobody counts: {', '.join(advice.uncounted)}, for which torch has no formula")
    if advice.busy is not None and advice.busy >= BUSY:
        shared = "are those of a busy machine, and shares are of operators alone"
        whose = shared if advice.table.disturbed else "are of this thread alone, and yet longer"
        lines.append(f"other processes took {advice.busy:.0f} % of the cores meanwhile: the times {whose}")
    lines.append("n: equal layers, added up. share: of the whole pass; the rest is Python, and memory given back.")
    return [*lines, f"measured in {elapsed(advice.seconds)}, and undone"]


def finding_lines(finding: Finding) -> list[str]:
    """Return a finding: what it is, the evidence, what is to be gained, and the change."""
    gain = "; ".join(filter(None, [gain_text(finding.gain, finding.ceiling), finding.gain_note]))
    return [finding.problem, finding.evidence, f"gain: {gain}", f"change: {finding.change}"]


def as_text(advice: Advice, width: int = WIDTH) -> str:
    """Return the page as plain lines, of so many characters at most."""
    return text_block(lambda console: console.print(draw(advice)), width)


def as_html(advice: Advice) -> str:
    """Return the page as a block of HTML with the roofline above it, in the reader's colours."""
    from accel.diagnose.roofline_plot import svg_text

    return svg_text(advice) + html_block(lambda console: console.print(draw(advice)), WIDTH)


def show(console: VisibleConsole, advice: Advice) -> None:
    """Print the page. What goes into a file or a pipe, which have no width, is as wide as in a notebook."""
    if console.is_terminal:
        console.print(draw(advice), soft_wrap=False)
        return
    columns = os.environ.get("COLUMNS", "")
    console.out(as_text(advice, int(columns) if columns.isdecimal() and int(columns) else WIDTH), highlight=False)
