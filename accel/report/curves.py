"""The curves of a run, drawn from its metrics.jsonl: loss, evaluation metrics, logged numbers and learning rate."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from accel.errors import visible
from accel.system import atomic_files

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "EVERY_UPDATE",
    "GRID",
    "HELD_OUT",
    "PANELS",
    "POINTS",
    "RAW",
    "SMOOTH",
    "Curves",
    "Floats",
    "add",
    "column",
    "draw",
    "draw_loss",
    "parse",
    "plain_label",
    "read",
    "running_mean",
    "save_svg",
    "style_panel",
    "svg_bytes",
    "svg_text",
]

Floats = NDArray[np.float64]
POINTS = 4000
"""The most updates to draw: more are thinned out evenly, because a picture has no room for them."""
PANELS = 4
"""The number of evaluation metrics that get a panel of their own, and as many numbers that updates log."""
EVERY_UPDATE = frozenset({"epoch", "loss", "lr", "samples", "skipped", "update"})
"""The numbers of a line that are not the loss's own."""
RAW, SMOOTH, HELD_OUT, GRID = "#9ecae1", "#08519c", "#d94801", "#dddddd"


@dataclass
class Curves:
    """The numbers to draw. Missing ones (losses that were not finite) are NaN."""

    update: Floats
    loss: Floats
    lr: Floats
    evaluated: dict[str, tuple[list[float], list[float]]] = field(default_factory=dict)
    """By metric, such as `test_accuracy`: the updates after which it was evaluated, and its values."""
    logged: dict[str, tuple[list[float], list[float]]] = field(default_factory=dict)
    """By number that updates log, such as `grad_norm`: those updates, and its values."""
    skipped: Floats | None = None
    """Updates skipped so far, at each update; None if none could be."""
    damaged: int = 0
    """Lines that are none of a run's."""


def draw(curves: Curves, picture: Path) -> None:
    """Draw the curves of a run into a picture; equal numbers give equal bytes.

    Args:
        curves: the numbers of its metrics.jsonl (`read`).
        picture: the SVG file to write; none is written if there is no update.

    Raises:
        OSError: if the disk does not take the picture.
    """
    # matplotlib takes half a second to import, and only this function needs it; no pyplot: that keeps figures of its own
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    if not len(curves.update):
        return
    losses = {name: xy for name, xy in curves.evaluated.items() if name.endswith("_loss")}
    others = {name: xy for name, xy in curves.evaluated.items() if name not in losses}
    others = dict(list(others.items())[:PANELS])
    logged = dict(list(curves.logged.items())[:PANELS])
    heights = [2.0, *[1.2] * (len(others) + len(logged)), 0.8]
    figure = Figure(figsize=(8, 1.4 * sum(heights) + 0.6), layout="constrained", facecolor="white")
    first, *panels, last = figure.subplots(len(heights), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    draw_loss(first, curves, losses)
    for panel, (name, (x, y)) in zip(panels, [*others.items(), *logged.items()], strict=True):
        if name in others:
            panel.plot(x, y, color=HELD_OUT, marker="o", markersize=3, linewidth=1.2)
        else:
            panel.plot(x, y, color=SMOOTH, linewidth=1.2)
        panel.set_ylabel(plain_label(name))
    last.plot(curves.update, curves.lr, color=SMOOTH, linewidth=1.2)
    last.set_ylabel("learning rate")
    last.set_xlabel("update")
    last.xaxis.set_major_locator(MaxNLocator(integer=True))
    last.xaxis.set_major_formatter("{x:,.0f}")
    last.set_ylim(bottom=0)
    for panel in (first, *panels, last):
        style_panel(panel)
    figure.align_ylabels()
    save_svg(figure, picture)


def plain_label(name: str) -> str:
    """Return a name of anyone's as matplotlib shows it: no formula, and every character visible."""
    return visible(name.replace("_", " ")).replace("$", r"\$")


def style_panel(panel: Axes) -> None:
    """Give a panel the looks that all have."""
    panel.grid(color=GRID, linewidth=0.6)
    panel.spines[["top", "right"]].set_visible(False)
    panel.margins(x=0.01)


def save_svg(figure: Figure, picture: Path) -> None:
    """Write a figure as SVG, as a whole or not at all; equal figures give equal bytes."""
    atomic_files.write(picture, svg_bytes(figure))


def svg_bytes(figure: Figure) -> bytes:
    """Return a figure as the content of an SVG file; equal figures give equal bytes."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    # a salt makes the ids, and so the bytes, the same each time; real text keeps the file small and searchable
    with matplotlib.rc_context({"svg.hashsalt": "accel", "svg.fonttype": "none"}):
        drawn = BytesIO()
        FigureCanvasSVG(figure).print_figure(drawn, format="svg", metadata={"Date": None})
        return drawn.getvalue()


def draw_loss(panel: Axes, curves: Curves, held_out: dict[str, tuple[list[float], list[float]]]) -> None:
    """Draw the training loss, raw and smoothed, and the evaluated one; on a logarithmic scale if it spans two decades."""
    smooth = running_mean(curves.loss, window=max(1, len(curves.loss) // 50))
    panel.plot(curves.update, curves.loss, color=RAW, linewidth=0.7, label="training, each update")
    panel.plot(curves.update, smooth, color=SMOOTH, linewidth=1.5, label="training, smoothed")
    for name, (x, y) in held_out.items():
        label = plain_label(name.removesuffix("_loss"))
        panel.plot(x, y, color=HELD_OUT, marker="o", markersize=3, linewidth=1.2, label=label)
    panel.set_ylabel("loss (mean per item)")
    finite = smooth[np.isfinite(smooth)]
    if len(finite) and finite.min() > 0 and finite.max() > 100 * finite.min():
        panel.set_yscale("log")
    panel.legend(loc="upper right", frameon=False, fontsize="small")


def read(metrics: Path) -> Curves:
    """Return the numbers of metrics.jsonl, at most about `POINTS` updates of them. Lines that are damaged are left out and counted.

    Raises:
        OSError: if the file cannot be read.
    """
    lines = metrics.read_bytes().splitlines()
    updates, others = [line for line in lines if b'"lr": ' in line], [line for line in lines if b'"lr": ' not in line]
    updates = updates[:: -(-len(updates) // POINTS) or 1]
    rows, evaluations = parse(updates), parse(others)
    update, loss, lr = (column(rows, name) for name in ("update", "loss", "lr"))
    skipped = column(rows, "skipped") if any("skipped" in row for row in rows) else None
    damaged = len(updates) + len(others) - len(rows) - len(evaluations)
    curves = Curves(update, loss, lr, skipped=skipped, damaged=damaged)
    for row in evaluations:
        add(row, curves.evaluated, {"update", "epoch"})
    for row in rows:
        add(row, curves.logged, EVERY_UPDATE)
    return curves


def add(row: dict[str, Any], curves: dict[str, tuple[list[float], list[float]]], left_out: Collection[str]) -> None:
    """Add the numbers of one line to the curves by name, apart from some names."""
    for name, value in row.items():
        if name not in left_out:
            x, y = curves.setdefault(name, ([], []))
            x.append(row["update"])
            y.append(value if isinstance(value, int | float) else np.nan)


def parse(lines: list[bytes]) -> list[dict[str, Any]]:
    """Return the objects of lines that have the number of an update, in one call of the parser unless a line is damaged."""
    try:
        rows = json.loads(b"[" + b",".join(lines) + b"]")
    except (ValueError, RecursionError):
        rows = [row for line in lines if (row := _parse_line(line)) is not None]
    return [row for row in rows if isinstance(row, dict) and type(row.get("update")) is int]


def _parse_line(line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def column(rows: list[dict[str, Any]], name: str) -> Floats:
    """Return the numbers that lines have under a name, (n,) float64; NaN where one is missing."""
    values = [row.get(name) for row in rows]
    return np.array([value if isinstance(value, int | float) else np.nan for value in values], dtype=np.float64)


def running_mean(values: Floats, window: int) -> Floats:
    """Return the mean of the finite values less than `window` / 2 away from each value; NaN if there is none.

    Args:
        values: (n,) float64.
        window: a number of values.

    Returns:
        (n,) float64.
    """
    known = np.isfinite(values)
    sums, counts = (np.concatenate([[0.0], np.cumsum(part)]) for part in (np.where(known, values, 0.0), known))
    index, reach = np.arange(len(values)), (window - 1) // 2
    start, end = np.maximum(index - reach, 0), np.minimum(index + reach + 1, len(values))
    count = counts[end] - counts[start]
    means: Floats = np.divide(sums[end] - sums[start], count, out=np.full(len(values), np.nan), where=count > 0)
    return means


def svg_text(figure: Figure) -> str:
    """Return a figure as an `<svg>` element, for a page."""
    text = svg_bytes(figure).decode()
    return text[text.index("<svg") :]
