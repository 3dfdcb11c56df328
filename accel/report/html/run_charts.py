"""The charts of runs: what was learnt, how fast, and what it took. Those of several runs have a line for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from accel.report.curves import PANELS, Curves, Floats, running_mean
from accel.report.html.charts import Chart, Line
from accel.report.record.run_files import RunFiles, Times

__all__ = ["STRETCHES", "course", "learning", "shared_charts", "spans_decades"]

STRETCHES = 120
"""The most stretches of a run for which samples per second and the wait for data are drawn."""
RAW, SMOOTH, HELD_OUT = 0, 0, 1
Axis = Literal["update", "seconds"]


def learning(curves: Curves) -> list[Chart]:
    """Return the charts of one run's metrics.jsonl: losses, metrics, learning rate, logged numbers and skipped updates."""
    losses = {name: xy for name, xy in curves.evaluated.items() if name.endswith("_loss")}
    others = {name: xy for name, xy in curves.evaluated.items() if name not in losses}
    smooth = _smoothed(curves)
    lines = [Line("", curves.update, curves.loss, RAW, "raw"), Line("training, smoothed", curves.update, smooth, SMOOTH)]
    lines += [
        Line(_words(name.removesuffix("_loss")), *_arrays(xy), HELD_OUT + place, "dots")
        for place, (name, xy) in enumerate(losses.items())
    ]
    some = [Chart("loss, mean per item", lines, log="y" if spans_decades(smooth) else "")]
    some += [_single(_words(name), *_arrays(xy), HELD_OUT, "dots") for name, xy in _first(others)]
    some.append(_single("learning rate", curves.update, curves.lr, SMOOTH, zero=True))
    some += [_single(_words(name), *_arrays(xy), SMOOTH) for name, xy in _first(curves.logged)]
    if curves.skipped is not None and np.nan_to_num(curves.skipped).any():
        some.append(_single("skipped updates, in all", curves.update, curves.skipped, HELD_OUT, zero=True))
    return some


def course(times: Times) -> list[Chart]:
    """Return the charts of one run's times.jsonl: samples per second, the wait for data, and memory, over its seconds."""
    middle, rate, wait = stretches(times)
    return [
        Chart("samples per second of training", [Line("", middle, rate)], "seconds", zero=True),
        Chart("waiting for data, percent of the training", [Line("", middle, wait, HELD_OUT)], "seconds", zero=True),
        Chart("memory, MB", [Line("", times.seconds, times.memory / 1e6, 3)], "seconds", zero=True),
    ]


def stretches(times: Times) -> tuple[Floats, Floats, Floats]:
    """Return for stretches of a run the second in the middle, samples per second of training, and percent of it waiting for data.

    Each is (n,) float64; stretches without training are left out.
    """
    edges = np.unique(np.linspace(0, len(times.seconds) - 1, min(STRETCHES, len(times.seconds) - 1) + 1).round().astype(int))
    seconds, training = times.seconds[edges], np.diff(times.training[edges])
    trained = training > 0
    middle = ((seconds[1:] + seconds[:-1]) / 2)[trained]
    rate = np.diff(times.samples[edges])[trained] / training[trained]
    wait = 100 * np.diff(times.waited[edges])[trained] / training[trained]
    return middle, rate, wait


def shared_charts(runs: Sequence[tuple[str, RunFiles]], x: Axis) -> list[Chart]:
    """Return the charts of several runs over their updates or their seconds: the smoothed loss, and each metric that two have.

    Args:
        runs: names and runs; a run has the colour of its place.
        x: the axis below; runs whose times are not known are left out over seconds.
    """
    loss = Chart("training loss, smoothed", x_label=x)
    metrics: dict[str, Chart] = {}
    for place, (name, run) in enumerate(runs):
        curves = run.curves
        if curves is None or (x == "seconds" and run.times is None):
            continue
        loss.lines.append(Line(name, _axis(run, curves.update, x), _smoothed(curves), place))
        for metric, xy in curves.evaluated.items():
            update, values = _arrays(xy)
            chart = metrics.setdefault(metric, Chart(_words(metric), x_label=x))
            chart.lines.append(Line(name, _axis(run, update, x), values, place, "dots"))
    if all(spans_decades(line.y) for line in loss.lines):
        loss.log = "y"
    return [loss, *(chart for chart in metrics.values() if len(chart.lines) > 1)][: 1 + PANELS]


def spans_decades(values: Floats) -> bool:
    """Return whether numbers span so much that only a logarithmic axis shows them all: two decades."""
    finite = values[np.isfinite(values)]
    return bool(len(finite) and finite.min() > 0 and finite.max() > 100 * finite.min())


def _axis(run: RunFiles, update: Floats, x: Axis) -> Floats:
    return update if x == "update" or run.times is None else run.times.at(update)


def _smoothed(curves: Curves) -> Floats:
    return running_mean(curves.loss, window=max(1, len(curves.loss) // 50))


def _arrays(xy: tuple[list[float], list[float]]) -> tuple[Floats, Floats]:
    return np.array(xy[0], dtype=np.float64), np.array(xy[1], dtype=np.float64)


def _first(curves: Mapping[str, tuple[list[float], list[float]]]) -> list[tuple[str, tuple[list[float], list[float]]]]:
    return list(curves.items())[:PANELS]


def _single(title: str, x: Floats, y: Floats, colour: int, kind: Literal["line", "dots"] = "line", zero: bool = False) -> Chart:
    return Chart(title, [Line("", x, y, colour, kind)], zero=zero)


def _words(name: str) -> str:
    return name.replace("_", " ")
