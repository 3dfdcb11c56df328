"""A learning rate range test: the rates at which the loss fell and rose, and its picture."""

from __future__ import annotations

import gc
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from accel.report.curves import HELD_OUT, RAW, SMOOTH, save_svg, style_panel

__all__ = ["Floats", "LRRangeCurve", "centred", "draw", "read", "trailing"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class LRRangeCurve:
    """The reading of a range test."""

    smooth: Floats
    """The loss, smoothed without delay, (n,)."""
    steepest: float | None
    """The rate at which the smoothed loss fell fastest, per decade of the rate; None if it never fell."""
    least: float | None
    """The rate at which the smoothed loss was least; None if it never fell."""


def read(lrs: Floats, losses: Floats, smoothing: float) -> LRRangeCurve:
    """Return the reading of a range test.

    A loss above all of the first tenth counts as the highest of these. Otherwise the height of an explosion would be smoothed over
    the losses before it, and would move the minimum away from it.

    Args:
        lrs: (n,), growing geometrically.
        losses: (n,), finite.
        smoothing: the decay of the weights of neighbours, from 0 to below 1.

    Source: Smith, Cyclical Learning Rates for Training Neural Networks, arXiv 1506.01186, section 3.3.
    """
    smooth = centred(np.minimum(losses, losses[: max(1, len(losses) // 10)].max(initial=-np.inf)), smoothing)
    lowest = int(smooth.argmin()) if len(smooth) else 0
    if lowest == 0:
        return LRRangeCurve(smooth, None, None)
    fall = np.diff(smooth[: lowest + 1])
    return LRRangeCurve(smooth, float(lrs[fall.argmin()]), float(lrs[lowest]))


def centred(values: Floats, decay: float) -> Floats:
    """Return the mean of all values, each weighted by decay^|distance|: as smooth as a moving average, without its delay.

    >>> centred(np.array([0.0, 0.0, 4.0, 0.0, 0.0]), 0.5).round(3).tolist()
    [0.516, 0.842, 1.6, 0.842, 0.516]
    """
    ahead, behind = trailing(values, decay), trailing(values[::-1], decay)[::-1]
    ones = np.ones_like(values)
    weights = trailing(ones, decay) + trailing(ones, decay)[::-1] - 1
    means: Floats = (ahead + behind - values) / weights
    return means


def trailing(values: Floats, decay: float) -> Floats:
    """Return for each value the sum of itself and all before it, each weighted by decay^distance."""
    sums, last = np.empty_like(values), 0.0
    for index, value in enumerate(values):
        sums[index] = last = decay * last + value
    return sums


def draw(lrs: Floats, losses: Floats, reading: LRRangeCurve, picture: Path) -> None:
    """Draw the loss over the learning rate; equal numbers give equal bytes.

    Args:
        lrs: (n,), growing geometrically.
        losses: (n,), finite.
        reading: the result of `read`.
        picture: the SVG file to write.

    Raises:
        OSError: if the disk does not take the picture.
    """
    from matplotlib.figure import Figure  # half a second to import, and only this function needs it

    figure = Figure(figsize=(8, 4), layout="constrained", facecolor="white")
    panel = figure.subplots()
    panel.plot(lrs, losses, color=RAW, linewidth=0.7, label="training loss, each update")
    panel.plot(lrs, reading.smooth, color=SMOOTH, linewidth=1.5, label="smoothed")
    for rate, description, style in (
        (reading.steepest, "suggested: steepest descent", "-"),
        (reading.least, "least loss", "--"),
        (reading.least and reading.least / 10, "a tenth of that", ":"),
    ):
        if rate is not None:
            panel.axvline(rate, color=HELD_OUT, linewidth=1.2, linestyle=style, label=f"{description}, {rate:.2g}")
    panel.set_xscale("log")
    low, high = float(losses.min()), float(reading.smooth.max())
    span = (high - low) or abs(high) or 1.0
    panel.set_ylim(low - 0.1 * span, high + 0.5 * span)  # with a whole explosion in it the rest would be flat
    panel.set_xlabel("learning rate")
    panel.set_ylabel("loss (mean per item)")
    style_panel(panel)
    panel.legend(loc="lower left", frameon=False, fontsize="small")
    save_svg(figure, picture)
    del figure
    gc.collect()  # errors inside matplotlib hold, in circles, the frames of all callers, and so the model of the run
