"""The roofline of a model: each layer by what it computes for each byte, and how fast, below the ceilings of the machine."""

from __future__ import annotations

import gc
from math import log
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from accel.diagnose.advice_page import flop_text
from accel.diagnose.layer_rows import equal_layers, group_name
from accel.report import curves
from accel.report.curves import GRID, HELD_OUT, SMOOTH, save_svg
from accel.report.formatting import size

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from accel.diagnose.advice import Advice
    from accel.diagnose.layers.layer_table import Layer

__all__ = ["LABELS", "Mark", "draw", "figure_of", "svg_text"]

LABELS = 6
"""Groups of layers that are named, those that take most time."""
PALE = "#7f7f7f"
COLOURS = {"compute": SMOOTH, "memory": HELD_OUT, "calls": PALE}
LINE = 0.035
"""Height of a line of text, as a share of the panel."""
LEAST = 1e-3
"""FLOP/B below which a layer computes nothing, and has no place in the picture."""


def draw(advice: Advice, picture: Path) -> None:
    """Draw the roofline; equal numbers give equal bytes. Raise OSError if the disk does not take the picture."""
    save_svg(figure_of(advice), picture)
    gc.collect()  # errors inside matplotlib hold, in circles, the frames of all callers


def svg_text(advice: Advice) -> str:
    """Return the picture as the text of an SVG, for a page."""
    return curves.svg_text(figure_of(advice))


def figure_of(advice: Advice) -> Figure:
    """Return the figure: ceilings as lines, groups of equal layers as circles whose area is their share of the time."""
    from matplotlib.figure import Figure  # half a second to import, and only this function needs it
    from matplotlib.ticker import NullFormatter

    groups = [group for group in equal_layers(advice.layers) if group[0].intensity > LEAST and group[0].seconds]
    marks = [_mark(advice, group) for group in groups]
    figure = Figure(figsize=(8, 5), layout="constrained", facecolor="white")
    panel = figure.subplots()
    panel.set_xscale("log", base=2)
    panel.set_yscale("log")
    draw_ceilings(panel, advice, marks)
    for bound, colour in COLOURS.items():
        chosen = [mark for mark in marks if mark.bound == bound]
        if chosen:
            x, y = [mark.intensity for mark in chosen], [mark.rate for mark in chosen]
            panel.scatter(x, y, [12 + 1500 * mark.share for mark in chosen], colour, alpha=0.65, linewidths=0, zorder=3)
            panel.scatter([], [], 30, colour, alpha=0.65, linewidths=0, label=f"bound by {bound}")
    name_marks(panel, sorted(marks, key=lambda mark: -mark.share)[:LABELS])
    panel.set_xlabel("FLOP for each byte moved")
    panel.set_ylabel("work a second")
    panel.yaxis.set_major_formatter(lambda value, place: flop_text(value) if value >= 1 else f"{value:g}")
    panel.yaxis.set_minor_formatter(NullFormatter())
    panel.xaxis.set_major_formatter("{x:g}")
    panel.grid(color=GRID, linewidth=0.6)
    panel.spines[["top", "right"]].set_visible(False)
    panel.scatter([], [], 0, "none", label=_rest(advice, groups))
    figure.legend(loc="outside lower center", frameon=False, fontsize="small", ncols=4)  # a circle may be anywhere in the panel
    return figure


class Mark(NamedTuple):
    """Circle of a group of layers."""

    name: str
    intensity: float
    """FLOP for each byte."""
    rate: float
    """FLOP a second."""
    share: float
    """Of the time of a pass, from 0 to 1."""
    bound: str


def _mark(advice: Advice, group: list[Layer]) -> Mark:
    """Return the circle of some equal layers."""
    seconds = sum(layer.seconds for layer in group)
    first = max(group, key=lambda layer: layer.seconds)
    number = f" ({len(group)})" if len(group) > 1 else ""
    rate = sum(layer.flops for layer in group) / seconds
    return Mark(group_name(group) + number, first.intensity, rate, advice.table.share(seconds), first.bound(advice.table.ceilings))


def _rest(advice: Advice, groups: list[list[Layer]]) -> str:
    """Return what the picture leaves out, in words."""
    drawn = {layer.path for group in groups for layer in group}
    rest = advice.table.share(sum(layer.seconds for layer in advice.layers if layer.path not in drawn))
    return f"without layers that multiply nothing,\nwhich take {rest:.0%} of the time"


def draw_ceilings(panel: Axes, advice: Advice, marks: list[Mark]) -> None:
    """Draw the roofs: a slope for memory and one for the fastest cache, and a flat line for the products of each number format."""
    ceilings = advice.table.ceilings
    used = {layer.dtype for layer in advice.layers if layer.flops} & set(ceilings.products) or set(ceilings.products)
    top, cache = max(ceilings.products[name] for name in used), max(ceilings.copies.values())
    left = min([mark.intensity for mark in marks] + [top / cache]) / 2
    right = 2 * max([mark.intensity for mark in marks] + [2 * top / ceilings.memory])
    low = min([mark.rate for mark in marks] + [left * ceilings.memory]) / 2
    panel.set_xlim(left, right)
    panel.set_ylim(low, 2.5 * top)
    for speed, name, colour in ((cache, "cache", PALE), (ceilings.memory, "memory", "black")):
        panel.plot([left, top / speed], [left * speed, top], color=colour, linewidth=1.3, zorder=2)
        panel.annotate(
            f"{name} {size(speed)}/s", (left * 1.5, left * 1.5 * speed), xytext=(6, -9), textcoords="offset points",
            fontsize="small", color=colour,
        )  # fmt: skip
    for name in sorted(used, key=lambda each: ceilings.products[each]):
        speed = ceilings.products[name]
        panel.plot([speed / cache, right], [speed, speed], color="black" if speed == top else PALE, linewidth=1.3, zorder=2)
        panel.annotate(
            f"{name} {flop_text(speed)}/s", (right, speed), xytext=(-2, 4), textcoords="offset points", ha="right", fontsize="small"
        )


def name_marks(panel: Axes, marks: list[Mark]) -> None:
    """Write the names of some circles below them, towards the middle, each a line below the one that it would cover."""
    (left, right), (low, high) = (map(log, limits) for limits in (panel.get_xlim(), panel.get_ylim()))
    taken: list[tuple[float, float]] = []
    for mark in marks:
        x, y = (log(mark.intensity) - left) / (right - left), (log(mark.rate) - low) / (high - low)
        lines = 0
        while any(abs(x - other) < 0.3 and abs(y - LINE * lines - height) < LINE for other, height in taken):
            lines += 1
        taken.append((x, y - LINE * lines))
        side = -1 if x > 0.6 else 1
        panel.annotate(
            mark.name, (mark.intensity, mark.rate), xytext=(7 * side, -10 - 11 * lines), textcoords="offset points",
            ha="right" if side < 0 else "left", fontsize="small", zorder=4,
            arrowprops={"arrowstyle": "-", "color": PALE, "linewidth": 0.5} if lines else None,
        )  # fmt: skip
