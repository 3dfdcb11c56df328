"""The picture of a run's exports: how many times faster than torch each is, its size and its metric."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from accel.report.curves import svg_bytes
from accel.report.formatting import number, size
from accel.report.html.charts import DIM, GRID, PALETTE_COLOURS
from accel.report.html.light_or_dark import CARD, INK, light_or_dark
from accel.report.record.export_cells import outcome_name, shown_metric
from accel.system import atomic_files

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["PICTURE", "ExportPanel", "draw", "export_panels", "panel_figure"]

PICTURE = "export.svg"
WIDTH, ROW, FRAME = 4.1, 0.3, 0.75
"""Inches of a panel: its width, the height of a target, and that of title and axis."""
SIDES = ("eager", "compiled")
"""What an export is timed beside, each with its colour and its mark."""
MARKS = ("o", "s")
LEAST, MOST = 1e-9, 1e9
"""Stand for bounds that are not known."""
Outcome = Mapping[str, Any]


@dataclass(frozen=True)
class ExportPanel:
    """One pair of axes: a row for each export."""

    title: str
    targets: Sequence[str]
    keys: Sequence[str]
    """What the colours stand for, in order."""
    draw: Callable[[Axes], None]


def export_panels(outcomes: Sequence[Outcome]) -> list[ExportPanel]:
    """Return a panel for each batch size and number of threads that was timed, and one of sizes; none without a proof."""
    proven = [one for one in outcomes if one.get("proof")]
    if not proven:
        return []
    cases: dict[tuple[int, int], list[tuple[str, Outcome]]] = {}
    for outcome in proven:
        for latency in outcome["proof"]["latency"]:
            cases.setdefault((latency["threads"], latency["batch"]), []).append((outcome_name(outcome), latency))
    return [*(_speed(*case, rows) for case, rows in sorted(cases.items())), _sizes(proven)]


def _speed(threads: int, batch: int, rows: Sequence[tuple[str, Outcome]]) -> ExportPanel:
    words = f"{'one sample' if batch == 1 else f'{batch} samples'}, {threads} thread{'s' * (threads > 1)}"
    keys = ["eager", *(["by torch.compile"] if any(latency["compiled"] for _, latency in rows) else [])]

    def draw_times(panel: Axes) -> None:
        from matplotlib.ticker import LogLocator, NullLocator

        panel.axvline(1, color=DIM, linewidth=1)
        ratios = [1.0]
        for place, (_, latency) in enumerate(rows):
            for side, name in enumerate(SIDES):
                if (times := latency[name]) is not None:
                    y, colour = place + 0.3 * side - 0.15 * (len(keys) > 1), PALETTE_COLOURS[side]
                    panel.plot([times["low"] or LEAST, times["high"] or MOST], [y, y], color=colour, linewidth=1.6)
                    panel.plot([times["ratio"]], [y], color=colour, marker=MARKS[side], markersize=4.5)
                    ratios.append(times["ratio"])
        low, high = min(ratios) / 2, 2 * max(ratios)  # bounds that are wider go on to the edges
        panel.set_xscale("log")
        panel.set_xlim(low, high)
        panel.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high < 100 * low else (1.0,)))
        panel.xaxis.set_major_formatter("{x:g}")
        panel.xaxis.set_minor_locator(NullLocator())

    return ExportPanel(f"times faster than torch, {words}", [name for name, _ in rows], keys, draw_times)


def _sizes(proven: Sequence[Outcome]) -> ExportPanel:
    proofs = [one["proof"] for one in proven]
    name = shown_metric(proofs[0]["metrics"])

    def draw_sizes(panel: Axes) -> None:
        from matplotlib.ticker import MaxNLocator

        largest = max(proof["bytes"] for proof in proofs)
        for place, proof in enumerate(proofs):
            metric = proof["export_metrics"].get(name)
            text = size(proof["bytes"]) + ("" if metric is None else f", {number(metric)}")
            panel.barh(place, proof["bytes"], color=PALETTE_COLOURS[2], height=0.6)
            panel.text(proof["bytes"] + 0.02 * largest, place, text, va="center", fontsize=8, color=INK)
        panel.set_xlim(0, 1.6 * largest)
        panel.xaxis.set_major_locator(MaxNLocator(4))
        panel.xaxis.set_major_formatter(lambda value, _: size(value) if value <= 1.05 * largest else "")

    return ExportPanel(
        f"size, and {name.replace('_', ' ')}" if name else "size", [outcome_name(one) for one in proven], [], draw_sizes
    )


def draw(outcomes: Sequence[Outcome], picture: Path) -> None:
    """Draw exports that have a proof, light or dark as the reader's system is; equal numbers give equal bytes, and none no file.

    Raises:
        OSError: if the disk does not take the picture.
    """
    panels = export_panels(outcomes)
    if not panels:
        return
    figure = panel_figure(panels)
    figure.set_facecolor(CARD)
    atomic_files.write(picture, light_or_dark(svg_bytes(figure).decode()).encode())
    del figure
    gc.collect()  # errors inside matplotlib hold, in circles, the frames of all callers


def panel_figure(panels: Sequence[ExportPanel], has_titles: bool = True) -> Figure:
    """Return a figure of panels below each other."""
    from matplotlib.figure import Figure  # half a second to import, and only this function needs it

    heights = [FRAME + ROW * len(panel.targets) for panel in panels]
    figure = Figure(figsize=(WIDTH, sum(heights)), layout="constrained", facecolor="none")
    places = figure.subplots(len(panels), 1, squeeze=False, height_ratios=heights)[:, 0]
    for panel, axes in zip(panels, places, strict=True):
        panel.draw(axes)
        axes.set_facecolor("none")
        axes.set_yticks(range(len(panel.targets)), panel.targets)
        axes.set_ylim(len(panel.targets) - 0.5, -0.5)
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["bottom", "left"]].set_color(GRID)
        axes.tick_params(which="both", labelsize=8, labelcolor=DIM, bottom=False, left=False, pad=4)
        axes.grid(color=GRID, linewidth=0.6, axis="x")
        axes.set_axisbelow(True)
        if has_titles:
            axes.set_title(panel.title, loc="left", fontsize=9, color=INK, pad=16 if panel.keys else 6)
        for place, key in enumerate(panel.keys if has_titles else []):
            mark = "●■"[place]
            axes.annotate(f"{mark} {key}", (0.22 * place, 1), (0, 4), xycoords="axes fraction", textcoords="offset points",
                          fontsize=8, color=PALETTE_COLOURS[place])  # fmt: skip
    return figure
