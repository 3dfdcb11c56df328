"""LRRange: tries learning rates out, and says which one to take.

Before the first update, so many updates are made on trial, on the real data and
through the real update, with a learning rate that grows from `start` to `end`
by the same factor each time. They stop where the smoothed loss exceeds `stop`
times its best. Then all is put back: the run that follows is, to the last bit,
the run without this plugin. Its own learning rate stays the one that was given.

`lr_range.svg` shows the loss over the rate, `lr_range.json` has the numbers.
Two rates are read off: where the smoothed loss fell fastest, and a tenth of that
where it was least. The first is suggested, for max_lr of onecycle or cyclic, or
for the optimiser's lr. On the digits the best max_lr of onecycle lay above it,
up to where the loss was least.

Helps   to find a learning rate in the time of a hundred updates.
Hurts   nothing: but a rate that is good for a hundred updates from the start
        may be too high for a long run without a schedule.
Costs   `updates` updates, which read the loss on the host each time, and for
        so long a copy of the weights and of all state on the device.
Source  Smith, Cyclical Learning Rates for Training Neural Networks, arXiv
        1506.01186; a tenth of the minimum is fastai's `lr_find`.
Exact   Put back are weights, buffers, the state of every part, random numbers
        and the position in the data; not what the user's own objects count. A
        run that is resumed tries nothing. Schedules rest while it is on trial.
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
from accel.report.lr_range_plot import draw, read
from accel.system import atomic_files, disk_errors
from accel.values import Count, Decay, Positive

if TYPE_CHECKING:
    from accel.report.lr_range_plot import LRRangeCurve

__all__ = ["FEWEST", "FILE", "PICTURE", "LRRange"]

FEWEST = 10
"""Fewer updates show no slope."""
FILE, PICTURE = "lr_range.json", "lr_range.svg"


@dataclass(eq=False)
class LRRange(Probe):
    """The learning rate range test.

    Args:
        start: the first learning rate, as it would be written for the optimiser.
        end: the last one.
        updates: how many updates to make on trial, at most.
        stop: stop where the smoothed loss exceeds so many times its best.
        smoothing: how slowly the smoothed loss forgets, from one update to the next.
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
        if self.updates < FEWEST:
            raise ConfigError(f"lr_range.updates={self.updates} are too few to show a slope; take {FEWEST} or more")
        if self.stop <= 1:
            raise ConfigError(f"lr_range.stop={self.stop:g} must be above 1: it is a multiple of the best loss")
        self.suggested: dict[str, float] = {}
        self.said = f"{self.updates} from {self.start:g} to {self.end:g}, to be tried before the first update"

    def explore(self, run: Run, trial: Trial) -> None:
        if run.progress.step:
            self.said = f"none tried: the run goes on after update {run.progress.step}"
            return
        rates, losses = self.climb(run, trial)
        reading = read(rates, losses, self.smoothing)
        best = reading.steepest
        tried = f"{len(rates)} tried, from {self.start:g}" + (f" to {rates[-1]:.2g}" if len(rates) else "")
        if best is None or reading.least is None:
            self.said = f"{tried}; nothing suggested, for the loss fell at none; lower lr_range.start"
        else:
            self.suggested = {self.setting(run): best}
            self.said = (
                f"{tried}; suggested {self.setting(run)}={best:.2g}, where the loss fell fastest; "
                f"a tenth of where it was least is {reading.least / 10:.2g}"
            )
        if run.out is not None and len(rates):
            self.write(run, rates, losses, reading)

    def climb(self, run: Run, trial: Trial) -> tuple[np.ndarray, np.ndarray]:
        """The rates that were tried, as they would be written, and their losses: (n,) each, float64, all finite."""
        optim, update = run.parts.optim, run.parts.update
        factor = (self.end / self.start) ** (1 / (self.updates - 1))
        found: list[tuple[float, float]] = []
        mean, weight, best = 0.0, 0.0, float("inf")
        with trial() as windows:
            for number, window in zip(range(self.updates), windows, strict=False):
                rate = self.start * factor**number
                optim.set_lr(rate * optim.scale)
                try:
                    loss = float(update(window))
                except TrainingError:  # a guard has seen enough, and so has the test
                    break
                if not isfinite(loss):
                    break
                found.append((rate, loss))
                mean, weight = self.smoothing * mean + loss, self.smoothing * weight + 1
                smooth = mean / weight
                if smooth > best + (self.stop - 1) * abs(best):
                    break
                best = min(best, smooth)
        table = np.array(found, dtype=np.float64).reshape(-1, 2)
        return table[:, 0], table[:, 1]

    def setting(self, run: Run) -> str:
        """What the suggestion is for: the schedule's peak, where it has one, else the optimiser's rate."""
        schedule, optim = run.parts.schedule, run.parts.optim
        if "max_lr" in schedule.settings:
            return f"{schedule.name}.max_lr"
        return f"{optim.name}.lr" if "lr" in optim.settings else "sgd.lr"

    def write(self, run: Run, rates: np.ndarray, losses: np.ndarray, reading: LRRangeCurve) -> None:
        """Writes the numbers and the picture."""
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
        return {"rates on trial": self.said}
