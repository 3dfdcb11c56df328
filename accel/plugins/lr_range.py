"""LRRange: a learning rate range test, which tries rates and suggests one.

Before the first update, `updates` trial updates are made on the real data and
through the real update. Their learning rate grows from `start` to `end` by the
same factor each time. They stop when the smoothed loss exceeds `stop` times its
best. Then everything is restored: the run that follows is, to the last bit, the
run without this plugin. Its own learning rate stays as set.

`lr_range.svg` shows the loss over the rate, `lr_range.json` has the numbers.
Two rates are read off: the rate at which the smoothed loss fell fastest, and a
tenth of the rate at which it was least. The first is suggested, for max_lr of
onecycle or cyclic, or for the optimiser's lr. On the digits the best max_lr of
onecycle lay above it, up to the rate of the least loss.

Helps   to find a learning rate in the time of a hundred updates.
Hurts   nothing; but a rate that is good for a hundred updates from the start
        may be too high for a long run without a schedule.
Costs   `updates` updates, which read the loss on the host each time. For as
        long, a copy of the weights and of all state on the device.
Source  Smith, Cyclical Learning Rates for Training Neural Networks, arXiv
        1506.01186; a tenth of the minimum is fastai's `lr_find`.
Exact   Restored are weights, buffers, the state of every part, random numbers
        and the position in the data; counters in the user's own objects are
        not. A run that is resumed tries nothing. Schedules rest during the
        trial.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING

import numpy as np

from accel.errors import ConfigError, TrainingError
from accel.parts import Probe, Run, Trial
from accel.report.plots.lr_range_plot import draw, read
from accel.system import atomic_files, disk_errors
from accel.values import Count, Decay, Positive

if TYPE_CHECKING:
    from accel.report.plots.lr_range_plot import LRRangeCurve

__all__ = ["FILE", "MIN_UPDATES", "PICTURE", "LRRange"]

MIN_UPDATES = 10
"""Fewest trial updates that show a slope."""
FILE, PICTURE = "lr_range.json", "lr_range.svg"


@dataclass(eq=False)
class LRRange(Probe):
    """Learning rate range test.

    Args:
        start: first learning rate, as it would be written for the optimiser.
        end: last learning rate, above start.
        updates: trial updates, at most; 10 or more.
        stop: multiple of the best smoothed loss, above 1, beyond which the trial stops.
        smoothing: decay per update of the smoothed loss.
    """

    start: Positive = 1e-6
    end: Positive = 10.0
    updates: Count = 100
    stop: Positive = 4.0
    smoothing: Decay = 0.8

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.start >= self.end:
            raise ConfigError(f"lr_range.start={self.start:g} must be below lr_range.end={self.end:g}")
        if self.updates < MIN_UPDATES:
            raise ConfigError(f"lr_range.updates={self.updates} are too few to show a slope; take {MIN_UPDATES} or more")
        if self.stop <= 1:
            raise ConfigError(f"lr_range.stop={self.stop:g} must be above 1: it is a multiple of the best loss")
        self.suggested: dict[str, float] = {}
        self.outcome = f"{self.updates} from {self.start:g} to {self.end:g}, to be tried before the first update"

    def explore(self, run: Run, trial: Trial) -> None:
        if run.progress.step:
            self.outcome = f"none tried: the run goes on after update {run.progress.step}"
            return
        rates, losses = self.measure_losses(run, trial)
        reading = read(rates, losses, self.smoothing)
        suggestion = reading.steepest
        tried = f"{len(rates)} tried, from {self.start:g}" + (f" to {rates[-1]:.2g}" if len(rates) else "")
        if suggestion is None or reading.least is None:
            self.outcome = f"{tried}; nothing suggested, for the loss fell at none; lower lr_range.start"
        else:
            self.suggested = {self.suggested_setting(run): suggestion}
            self.outcome = (
                f"{tried}; suggested {self.suggested_setting(run)}={suggestion:.2g}, where the loss fell fastest; "
                f"a tenth of where it was least is {reading.least / 10:.2g}"
            )
        if run.out is not None and len(rates):
            self.write_report(run, rates, losses, reading)

    def measure_losses(self, run: Run, trial: Trial) -> tuple[np.ndarray, np.ndarray]:
        """Make the trial updates; return their rates, as they would be written, and losses: (n,) each, float64, all finite."""
        optim, update = run.parts.optim, run.parts.update
        factor = (self.end / self.start) ** (1 / (self.updates - 1))
        points: list[tuple[float, float]] = []
        mean, weight, best = 0.0, 0.0, float("inf")
        with trial() as windows:
            for number, window in zip(range(self.updates), windows, strict=False):
                rate = self.start * factor**number
                optim.set_lr(rate * optim.scale)
                try:
                    loss = float(update(window))
                except TrainingError:  # a guard ends the run, and so the trial
                    break
                if not isfinite(loss):
                    break
                points.append((rate, loss))
                mean, weight = self.smoothing * mean + loss, self.smoothing * weight + 1
                smooth = mean / weight
                if smooth > best + (self.stop - 1) * abs(best):
                    break
                best = min(best, smooth)
        table = np.array(points, dtype=np.float64).reshape(-1, 2)
        return table[:, 0], table[:, 1]

    def suggested_setting(self, run: Run) -> str:
        """Return the name of the setting to suggest: the schedule's max_lr if it has one, else the optimiser's lr."""
        schedule, optim = run.parts.schedule, run.parts.optim
        if "max_lr" in schedule.settings:
            return f"{schedule.name}.max_lr"
        return f"{optim.name}.lr" if "lr" in optim.settings else "sgd.lr"

    def write_report(self, run: Run, rates: np.ndarray, losses: np.ndarray, reading: LRRangeCurve) -> None:
        """Write `lr_range.json` and `lr_range.svg` into the run directory."""
        assert run.out is not None
        points = [{"lr": rate, "loss": loss} for rate, loss in zip(rates.tolist(), losses.tolist(), strict=True)]
        about = {
            "schema": 1, "times": run.parts.optim.scale, "steepest": reading.steepest, "least": reading.least,
            "suggested": self.suggested, "points": points,
        }  # fmt: skip
        with disk_errors.warn_on_disk_error(run.out / FILE):
            atomic_files.write(run.out / FILE, json.dumps(about, indent=1).encode())
            draw(rates, losses, reading, run.out / PICTURE)

    def suggestions(self) -> dict[str, float]:
        return self.suggested

    def plan_notes(self) -> Mapping[str, str]:
        return {"rates on trial": self.outcome}
