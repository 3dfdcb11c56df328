"""Plateau: a learning rate that falls when a metric of the evaluations gains no more.

Helps   runs of unknown length, and recipes that lower the rate by hand. No
        number of updates need be known.
Hurts   evaluations that are rare or noisy: the rate falls late, or too soon. A
        curve of known length (cosine, onecycle) usually ends better.
Costs   nothing beside the evaluations.
Source  Equals `torch.optim.lr_scheduler.ReduceLROnPlateau` with a relative
        threshold, stepped after each evaluation. Of a metric below 0 the
        threshold is a share of its size; torch's has the wrong sign there.
Exact   Its state is in the checkpoints, so the schedule goes on as if the run
        had not been interrupted. An evaluation that is made only because the
        run ends does not count. A resumed run must evaluate as often as before.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Any, ClassVar

from accel.errors import ConfigError
from accel.parts import Schedule
from accel.parts.shared.metric_choice import MetricChoice
from accel.values import Decay, Metric, NonNegative, Whole

if TYPE_CHECKING:
    from accel.parts import Run

__all__ = ["Plateau"]

LEAST = 1e-8
"""A rate that would fall by no more than this stays, as torch's (`eps`)."""


@dataclass(eq=False)
class Plateau(Schedule):
    """Constant rates, each `factor` times the one before, from the optimiser's lr down to `min_lr`.

    Args:
        metric: metric of the evaluations: loss, accuracy; for any other name say which end is better: min:NAME or max:NAME.
        factor: next rate over the rate.
        patience: evaluations in a row without a gain that are borne; the rate falls with the next one.
        threshold: gain that counts, as a share of the best value so far.
        cooldown: evaluations after a fall that are not counted.
        min_lr: lowest rate.
    """

    follows_length = False
    follows_evaluations: ClassVar[bool] = True

    metric: Metric = "loss"
    factor: Decay = 0.1
    patience: Whole = 10
    threshold: NonNegative = 1e-4
    cooldown: Whole = 0
    min_lr: NonNegative = 0.0

    def setup(self, run: Run) -> None:
        super().setup(run)
        if run.held_out is None:
            raise ConfigError(f"{self.name} needs data to evaluate on, and there is none; leave it out: '~plugins.{self.name}'")
        self.choice, self.progress = MetricChoice.read(self.metric), run.progress
        self.best, self.without_gain, self.cooling = inf, 0, 0
        self.falls: list[int] = []
        """Updates done before each fall of the rate."""
        self.rates = [self.base]
        """The first rate, and that after each fall."""

    def lr(self, step: int) -> float:
        return self.rates[bisect_right(self.falls, step)]

    def apply(self, step: int) -> None:
        self.optim.set_lr(self.lr(step))

    def check_metrics(self, metrics: Mapping[str, float]) -> None:
        if problem := self.choice.problem(f"{self.name}.metric", metrics):
            raise ConfigError(problem)

    def evaluated(self, epoch: float, metrics: dict[str, float]) -> None:
        self.check_metrics(metrics)
        cost = self.choice.cost(metrics)
        if self.is_gain(cost):
            self.best, self.without_gain = cost, 0
        else:
            self.without_gain += 1
        if self.cooling:
            self.cooling -= 1
            self.without_gain = 0
        if self.without_gain > self.patience:
            self.fall()
            self.cooling, self.without_gain = self.cooldown, 0

    def is_gain(self, cost: float) -> bool:
        """Return whether a cost is below the best so far by more than the threshold. One that is not finite never is."""
        if self.best == inf:
            return cost < inf
        return cost < self.best * (1.0 - self.threshold if self.best > 0 else 1.0 + self.threshold)

    def fall(self) -> None:
        """Lower the rate from the next update on."""
        rate = max(self.rates[-1] * self.factor, self.min_lr)
        if self.rates[-1] - rate > LEAST:
            self.falls.append(self.progress.step)
            self.rates.append(rate)

    def plan_notes(self) -> Mapping[str, str]:
        return {
            "learning rate": f"{self.base:.3g}, times {self.factor:g} after more than {self.patience} evaluations without a gain, "
            f"by {self.choice.described}"
        }

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "without_gain": self.without_gain, "cooling": self.cooling, "falls": list(self.falls)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.best, self.without_gain, self.cooling = float(state["best"]), int(state["without_gain"]), int(state["cooling"])
        self.falls, self.rates = list(state["falls"]), [self.base]
        for _ in self.falls:
            self.rates.append(max(self.rates[-1] * self.factor, self.min_lr))
