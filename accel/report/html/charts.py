"""Charts of a report: SVG by matplotlib, in the colours of the page, light or dark. Texts of users stand outside of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from accel.report.curves import Floats, svg_text
from accel.report.html.markup import Markup, element, join
from accel.report.html.stylesheet import INK, PALETTE
from accel.system.machine import importable

__all__ = [
    "COLOURS", "DIM", "GRID", "MISSING", "PACKAGE", "PALETTE_COLOURS", "Canvas", "Chart", "Line", "charts", "for_page", "swatch",
    "thinned",
]  # fmt: skip

SIZE = (4.1, 2.15)
"""Inches of a chart, whose letters are then as large as those beside it, at the width of a telephone too."""
POINTS = 700
"""The most points of a line: a chart is some four hundred pixels wide."""
PACKAGE = "matplotlib"
MISSING = f"there are no curves, for {PACKAGE} is not installed: pip install {PACKAGE}"
COLOURS = {f"#0000{10 + place}": f"var(--{name})" for place, name in enumerate(INK)}
PALETTE_COLOURS = tuple(f"#0000{20 + number}" for number in range(len(PALETTE)))
COLOURS |= {colour: f"var(--c{number})" for number, colour in enumerate(PALETTE_COLOURS)}
"""Colours that stand in a drawing for those of the page."""
DIM, GRID = "#000011", "#000012"
DASHES = ("-", "--", ":", "-.")
"""Styles of lines, in turn, once all colours are used."""


@dataclass
class Line:
    """A line of a chart.

    Args:
        label: what it is, a text of anyone.
        x: (n,).
        y: (n,); NaN leaves a gap.
        colour: number of its colour.
        kind: `raw` is thin and pale, `dots` has a mark for each value, `points` has marks alone.
    """

    label: str
    x: Floats
    y: Floats
    colour: int = 0
    kind: Literal["line", "raw", "dots", "points"] = "line"


@dataclass
class Chart:
    """A chart: its title, and lines over one axis.

    Args:
        title: what it shows, a text of anyone.
        lines: in the order in which they are drawn.
        x_label: of the axis below, a word of accel's own.
        zero: whether that axis begins at 0.
        log: the axes that are logarithmic: none, `y` or `xy`.
    """

    title: str
    lines: list[Line] = field(default_factory=list)
    x_label: str = "update"
    zero: bool = False
    log: Literal["", "y", "xy"] = ""

    def is_empty(self) -> bool:
        """Whether no line has a number."""
        return not any(np.isfinite(line.y).any() for line in self.lines)


def charts(some: Sequence[Chart]) -> Markup:
    """Return charts beside each other, as many as the page is wide; a sentence if nothing can draw them."""
    some = [chart for chart in some if not chart.is_empty()]
    if not some:
        return Markup("")
    if not importable(PACKAGE):
        return element("p", MISSING, class_="warn")
    canvas = Canvas()
    return element("div", *(_figure(chart, canvas.draw(chart, number)) for number, chart in enumerate(some)), class_="charts")


def _figure(chart: Chart, svg: str) -> Markup:
    """Return a chart with its title and the names of its lines."""
    named = [line for line in chart.lines if line.label and line.kind != "raw"]
    swatches = [element("span", swatch(line.colour), line.label, class_="key") for line in named]
    caption = element("figcaption", element("b", chart.title), Markup("<br>") if swatches else None, join(swatches))
    return element("figure", caption, Markup(svg))


def swatch(colour: int) -> Markup:
    """Return a spot of a colour, by its number."""
    return element("span", class_="swatch", style=f"background:var(--c{colour % len(PALETTE)})")


class Canvas:
    """One pair of axes on which charts are drawn after each other: making its parts takes most of the time."""

    def __init__(self) -> None:
        from matplotlib.figure import Figure

        self.figure = Figure(figsize=SIZE, facecolor="none")
        self.panel = panel = self.figure.add_axes((0.15, 0.185, 0.835, 0.775), facecolor="none")  # -0.00025 fits beside it
        panel.spines[["top", "right"]].set_visible(False)
        panel.spines[["bottom", "left"]].set_color(GRID)
        panel.tick_params(which="both", labelsize=8, labelcolor=DIM, bottom=False, left=False, pad=4)
        panel.grid(color=GRID, linewidth=0.6)

    def draw(self, chart: Chart, number: int) -> str:
        """Return a chart, as wide as its place and without a name of a host, a size or a colour of its own.

        Args:
            chart: with a number at least.
            number: of the chart on its page.
        """
        import matplotlib

        for old in list(self.panel.lines):
            old.remove()
        self.set_axes(chart)
        for line in chart.lines:
            self.draw_line(line)
        self.panel.relim()
        self.panel.autoscale()
        self.panel.margins(x=0.015, y=0.06)
        if chart.zero:
            self.panel.set_ylim(bottom=0)
        with matplotlib.rc_context({"path.simplify_threshold": 0.5}):
            text = svg_text(self.figure)
        return for_page(text, number)

    def set_axes(self, chart: Chart) -> None:
        """Give both axes their scale, their ticks and the label below."""
        from matplotlib.ticker import FuncFormatter, MaxNLocator

        formatter = FuncFormatter(lambda value, _: f"{value:,.10g}" if 1e-4 <= abs(value) < 1e6 or not value else f"{value:.2g}")
        axes = {"x": self.panel.xaxis, "y": self.panel.yaxis}
        for name, axis in axes.items():
            self.panel.set(**{f"{name}scale": "log" if name in chart.log else "linear"})
            if name not in chart.log:
                axis.set_major_locator(MaxNLocator(5, integer=name == "x" and chart.x_label == "update"))
            axis.set_major_formatter(formatter)
            axis.set_minor_formatter(lambda value, position: "")
        self.panel.set_xlabel(chart.x_label, color=DIM, fontsize=8, labelpad=2)

    def draw_line(self, line: Line) -> None:
        """Draw a line in the looks of its kind."""
        x, y = thinned(line.x, line.y)
        style: dict[str, Any] = {"color": PALETTE_COLOURS[line.colour % len(PALETTE)], "linewidth": 1.6}
        style["linestyle"] = DASHES[line.colour // len(PALETTE) % len(DASHES)]
        if line.kind == "raw":
            style |= {"linewidth": 0.7, "alpha": 0.4}
        elif line.kind == "dots" and len(x) <= 60:
            style |= {"marker": "o", "markersize": 3.5}
        elif line.kind == "points":
            style |= {"marker": "o", "markersize": 4, "linestyle": "none"}
        self.panel.plot(x, y, **style)


def for_page(svg: str, number: int) -> str:
    """Return a drawing as a part of a page: sized by it, in its colours, with ids of its own and nothing but shapes.

    Args:
        svg: the drawing, whose colours are those of `COLOURS`.
        number: of the drawing on its page.
    """
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(
        r"<svg\b.*?(viewBox=\"[^\"]*\").*?>", r'<svg \1 role="img" stroke-linejoin="round">', svg, count=1, flags=re.DOTALL
    )
    svg = re.sub(r' id="[a-zA-Z0-9]+_\d+"', "", svg)
    svg = re.sub(r'(id="|url\(#|href="#)', rf"\g<1>g{number}-", svg).replace("xlink:href", "href")
    svg = re.sub(r"'[^']*'(, *(?:'[^']*'|[\w-]+))*(?=[;\"])", "sans-serif", svg)
    svg = re.sub(r"#0000[12]\d", lambda match: COLOURS.get(match[0], match[0]), svg)
    return re.sub(r"\n\s*", "\n", svg)


def thinned(x: Floats, y: Floats, points: int = POINTS) -> tuple[Floats, Floats]:
    """Return at most about so many points of a line: of each stretch the lowest and the highest, in order, so that no peak is lost.

    Args:
        x: (n,).
        y: (n,).
        points: the most.
    """
    if len(x) <= points:
        return x, y
    size = -(-2 * len(x) // points)
    whole = len(x) // size * size
    stretches = y[:whole].reshape(-1, size)
    starts = np.arange(0, whole, size)
    low = starts + np.where(np.isnan(stretches), np.inf, stretches).argmin(axis=1)
    high = starts + np.where(np.isnan(stretches), -np.inf, stretches).argmax(axis=1)
    chosen = np.unique(np.concatenate([low, high, [0, len(x) - 1]]))
    return x[chosen], y[chosen]
