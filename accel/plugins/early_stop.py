"""Early stop: the run ends when a metric of its evaluations gains no more.

Helps   runs that begin to learn their data by heart: they end near their best,
        and the time is left for others.
Hurts   schedules that fall with the length of the run (cosine, onecycle): the
        gain often comes with the fall, which an early end cuts off. A patience
        that is short for a noisy metric.
Costs   nothing beside the evaluations.
Source  Prechelt, Early Stopping - But When?, 1998. As Keras' EarlyStopping and
        Lightning's, but a run that had stopped and is resumed does not train on.
Exact   The run ends with the evaluated update, on all ranks. It is saved, and
        ends as any other. An evaluation that is made only because the run ends
        does not count. Together with checkpoint.best the best weights are kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Any

from accel.errors import ConfigError
from accel.parts import Stop
from accel.parts.shared.metric_choice import MetricChoice
from accel.values import Count, Metric, NonNegative

if TYPE_CHECKING:
    from accel.parts import Run

__all__ = ["EarlyStop"]


@dataclass(eq=False)
class EarlyStop(Stop):
    """End of the run after `patience` evaluations in a row without a gain.

    Args:
        metric: metric of the evaluations: loss, accuracy; for any other name say which end is better: min:NAME or max:NAME.
        patience: evaluations in a row without a gain that end the run.
        min_delta: what a metric must gain on the best so far to count; less is none.
    """

    metric: Metric = "loss"
    patience: Count = 3
    min_delta: NonNegative = 0.0

    def setup(self, run: Run) -> None:
        if run.held_out is None:
            raise ConfigError(f"{self.name} needs data to evaluate on, and there is none; leave it out: '~plugins.{self.name}'")
        self.choice = MetricChoice.read(self.metric)
        self.begin_anew()

    def begin_anew(self) -> None:
        """Forget all evaluations."""
        self.costs: list[float] = []
        """Cost of the metric in each evaluation so far, in order (`MetricChoice.cost`)."""
        self.best, self.without_gain = inf, 0

    def check_metrics(self, metrics: Mapping[str, float]) -> None:
        if problem := self.choice.problem(f"{self.name}.metric", metrics):
            raise ConfigError(problem)

    def evaluated(self, epoch: float, metrics: dict[str, float]) -> None:
        self.check_metrics(metrics)
        self.count(self.choice.cost(metrics))

    def count(self, cost: float) -> None:
        """Count an evaluation by the cost of its metric; one that is not finite is no gain."""
        self.costs.append(cost)
        if cost < self.best - self.min_delta:
            self.best, self.without_gain = cost, 0
        else:
            self.without_gain += 1

    def reason(self) -> str:
        if self.without_gain < self.patience:
            return ""
        evaluations = f"{self.without_gain} evaluation{'s' * (self.without_gain != 1)}"
        least = f" of more than {self.min_delta:g}" if self.min_delta else ""
        best = f"; {self.choice.described} was {self.choice.value(self.best):.4g}" if self.best < inf else ", which is not finite"
        return f"{self.name}: {evaluations} without a gain{least} in {self.choice.metric}{best}"

    def plan_notes(self) -> Mapping[str, str]:
        return {"stops": f"after {self.patience} evaluations without a gain, by {self.choice.described}"}

    def state_dict(self) -> dict[str, Any]:
        return {"metric": self.choice.metric, "lower": self.choice.lower, "costs": list(self.costs)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.begin_anew()
        if (state["metric"], state["lower"]) == (self.choice.metric, self.choice.lower):  # of another there is no telling
            for cost in state["costs"]:  # with another patience or min_delta it is as if they had held from the start
                self.count(float(cost))
