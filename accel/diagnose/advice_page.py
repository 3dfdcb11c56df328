"""The advice on a model, as lines, tables and a page for a notebook."""

from __future__ import annotations

import re
from collections.abc import Sequence
from io import StringIO
from typing import TYPE_CHECKING

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from accel.report.formatting import elapsed, short_count, size
from accel.report.other_load import BUSY
from accel.report.plan import facts
from accel.report.visible_console import VisibleConsole

if TYPE_CHECKING:
    from accel.diagnose.advice import Advice
    from accel.diagnose.findings.finding import Finding
    from accel.diagnose.layers.layer_table import Layer

__all__ = [
    "ROWS",
    "WIDTH",
    "advice_facts",
    "as_html",
    "as_text",
    "draw",
    "equal_layers",
    "finding_lines",
    "flop_text",
    "group_name",
    "layer_cells",
    "layer_table",
    "show",
]

WIDTH = 120
"""Columns of the page in a notebook."""
ROWS = 15
"""Layers in the table, those that take most time; JSON has all."""


def draw(advice: Advice) -> RenderableType:
    """Return the page: machine and totals, the layers that take most time, findings."""
    blocks: list[RenderableType] = ["", Text(f"{advice.model}, {advice.samples}", style="bold")]
    blocks += [Padding(facts(advice_facts(advice)), (0, 0, 0, 2)), "", Padding(layer_table(advice), (0, 0, 0, 2))]
    blocks += [Text(f"  {line}", style="dim") for line in notes(advice)]
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
        f"{1000 * table.operator_seconds:.3g} ms of it in {len(table.operations):,} operators{gap}",
        "work": f"{flop_text(advice.flops)}, {size(advice.bytes)} moved, {advice.flops / max(1, advice.bytes):.1f} FLOP/B; "
        f"{flop_text(advice.flops / table.seconds)}/s",
    }


def flop_text(count: float) -> str:
    """Return a number of floating-point operations: 950 FLOP, 1.2 MFLOP, 139 GFLOP.

    >>> flop_text(343e6)
    '343 MFLOP'
    """
    return f"{size(count)[:-1]}FLOP"


def layer_table(advice: Advice) -> RenderableType:
    """Return a table: a row for each group of equal layers that take most time, in the order of the model; one for the others."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold", padding=(0, 1))
    table.add_column("layer", overflow="fold", min_width=16)
    table.add_column("n", justify="right", no_wrap=True)
    table.add_column("kind", overflow="ellipsis", no_wrap=True, max_width=14)
    for name in ("FLOP", "moved", "FLOP/B", "bound by", "fwd ms", "bwd ms", "share", "x roof"):
        table.add_column(name, justify="right", no_wrap=True)
    groups = equal_layers(advice.layers)
    shown = sorted(groups, key=lambda group: -sum(layer.seconds for layer in group))[:ROWS]
    for group in groups:
        if group in shown:
            table.add_row(group_name(group), str(len(group)), group[0].kind, *layer_cells(advice, group))
    others = [layer for group in groups if group not in shown for layer in group]
    if others:
        table.add_row("others", str(len(others)), "", *layer_cells(advice, others), style="dim")
    return table


def equal_layers(layers: Sequence[Layer]) -> list[list[Layer]]:
    """Return layers in groups of those that do the same work at the same place of a repeated block."""
    groups: dict[tuple[str, str, int, int], list[Layer]] = {}
    for layer in layers:
        groups.setdefault((_pattern(layer.path), layer.kind, layer.flops, layer.bytes), []).append(layer)
    return list(groups.values())


def _pattern(path: str) -> str:
    """Return a path with a star for each number in it."""
    return re.sub(r"\d+", "*", path)


def group_name(group: list[Layer]) -> str:
    """Return the name of a group: the path of a single layer; of several with a star where they differ."""
    parts = zip(*(re.split(r"(\d+)", layer.name) for layer in group), strict=True)
    return "".join(texts[0] if len(set(texts)) == 1 else "*" for texts in parts)


def layer_cells(advice: Advice, layers: list[Layer]) -> tuple[str, ...]:
    """Return the numbers of some layers together."""
    ceilings = advice.table.ceilings
    flops, moved, seconds = (sum(getattr(layer, name) for layer in layers) for name in ("flops", "bytes", "seconds"))
    roof = sum(layer.roof_seconds(ceilings) for layer in layers)
    bounds = {layer.bound(ceilings) for layer in layers if layer.bytes}
    bound = bounds.pop() if len(bounds) == 1 else ""
    work = (short_count(flops), size(moved), f"{flops / moved:.1f}", bound) if moved else ("-",) * 4
    gap = f"{seconds / roof:.1f}" if roof else "-"
    return *work, *_times(layers), f"{advice.table.share(seconds):.1%}", gap


def _times(layers: list[Layer]) -> tuple[str, str]:
    """Return forward and backward time of some layers, in milliseconds."""
    forward, backward = sum(one.forward_seconds for one in layers), sum(one.backward_seconds for one in layers)
    return f"{1000 * forward:.2f}", f"{1000 * backward:.2f}" if backward else "-"


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
    least = "less than 0.1%" if finding.gain is not None and finding.gain < 0.001 else f"at most {finding.gain or 0:.1%}"
    gains = [] if finding.gain is None else [f"saves {least} of the time"]
    gain = "; ".join([*gains, *([finding.gain_note] if finding.gain_note and finding.gain != 0 else [])])
    return [finding.problem, finding.evidence, *([f"gain: {gain}"] if gain else []), f"change: {finding.change}"]


def as_text(advice: Advice) -> str:
    """Return the page as plain lines."""
    console = VisibleConsole(width=WIDTH, color_system=None, markup=False, highlight=False)
    with console.capture() as capture:
        console.print(draw(advice))
    return "\n".join(line.rstrip() for line in capture.get().strip("\n").splitlines())


def as_html(advice: Advice) -> str:
    """Return the page as a block of HTML with the roofline above it, in the reader's colours."""
    from accel.diagnose.roofline_plot import svg_text

    console = VisibleConsole(width=WIDTH, record=True, markup=False, highlight=False, file=StringIO())
    console.print(draw(advice))
    page = console.export_html(inline_styles=True, code_format='<pre style="line-height: normal; font-size: 12px">{code}</pre>')
    return svg_text(advice) + page


def show(console: VisibleConsole, advice: Advice) -> None:
    """Print the page."""
    console.print(draw(advice), soft_wrap=False)
