"""The picture of an ablation: how much faster each plugin makes the run, with bounds."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import TYPE_CHECKING

from accel.report import curves
from accel.report.curves import GRID, HELD_OUT, RAW, SMOOTH, save_svg, style_panel

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from accel.compare import SpeedRatio
    from accel.diagnose.ablation.contribution import Ablation

__all__ = ["draw", "svg_text"]

COLOURS = {"keep": SMOOTH, "neutral": GRID, "harmful": HELD_OUT}


def draw(ablation: Ablation, picture: Path) -> None:
    """Draw an ablation; equal numbers give equal bytes. Raise OSError if the disk does not take the picture."""
    save_svg(_figure(ablation), picture)
    gc.collect()  # errors inside matplotlib hold, in circles, the frames of all callers


def svg_text(ablation: Ablation) -> str:
    """Return the picture as the text of an SVG, for a page."""
    return curves.svg_text(_figure(ablation))


def _figure(ablation: Ablation) -> Figure:
    """Return a bar for each plugin, from 1 to its speed, with its bounds; the plugin alone is drawn below, paler."""
    from matplotlib.figure import Figure  # half a second to import, and only this function needs it
    from matplotlib.ticker import MaxNLocator, NullLocator, ScalarFormatter

    rows: list[tuple[str, SpeedRatio, str]] = []
    for one in ablation.contributions:
        if one.speed is not None:
            rows.append((f"{one.name}: {one.verdict or 'unknown'}", one.speed, COLOURS.get(one.verdict or "neutral", GRID)))
        if one.alone is not None and one.alone is not one.speed:
            rows.append((f"{one.name}, alone", one.alone, RAW))
    if ablation.together is not None and len(ablation.contributions) > 1:
        rows.append(("all together", ablation.together, SMOOTH))
    figure = Figure(figsize=(8, 1.1 + 0.32 * len(rows)), layout="constrained", facecolor="white")
    panel = figure.subplots()
    for place, (_, speed, colour) in enumerate(rows):
        panel.barh(place, speed.ratio - 1, left=1, color=colour, height=0.7)
        panel.plot([max(speed.low, 0.01), min(speed.high, 100.0)], [place, place], color="black", linewidth=1.2, marker="|")
    panel.axvline(1, color="black", linewidth=0.8)
    panel.set_yticks(range(len(rows)), [name for name, _, _ in rows])
    panel.invert_yaxis()
    panel.set_xscale("log")
    panel.xaxis.set_major_formatter(ScalarFormatter())
    panel.xaxis.set_major_locator(MaxNLocator(7, steps=[1, 2, 5, 10]))  # a log scale has none from 1 to 2
    panel.xaxis.set_minor_locator(NullLocator())
    panel.set_xlabel("times as fast with the plugin as without it; the line has the bounds")
    style_panel(panel)
    return figure
