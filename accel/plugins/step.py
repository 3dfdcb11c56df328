"""Step: a learning rate that drops by a factor at fixed points of the run.

Helps   convnets trained for long, whose recipes have it, and comparisons with
        papers that used it.
Hurts   short runs: half of the drops come too early or too late.
Costs   nothing: a pure function of the update's index, without state.
Source  He et al., Deep Residual Learning, arXiv 1512.03385. Equals the product
        of torch's LinearLR(1 / (W + 1), total_iters=W) and StepLR(step_size,
        gamma), or MultiStepLR(milestones, gamma). W is the length of the
        warm-up in updates; drops are counted from the start of the run.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from accel.errors import ConfigError
from accel.parts.shared.warmed import Warmed
from accel.values import NonNegative, Positive, check_value

if TYPE_CHECKING:
    from accel.parts import Run

__all__ = ["Step"]


@dataclass(eq=False)
class Step(Warmed):
    """The optimiser's lr, times gamma at each drop, after a linear warm-up.

    Args:
        step_size: distance of two drops: below 1 a share of all updates, from 1 on a number of updates.
        milestones: places of the drops in the same way, in place of step_size; null takes step_size.
        gamma: factor on the learning rate at each drop.
        warmup: length of the warm-up: below 1 a share of all updates, from 1 on a number of updates; 0 for none.
    """

    step_size: Positive = 0.3
    milestones: list[float] | None = None
    gamma: Positive = 0.1
    warmup: NonNegative = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        for index, place in enumerate(self.milestones or []):
            check_value(f"step.milestones[{index}]", place, Positive)
        lengths = [self.warmup or 1, *([self.step_size] if self.milestones is None else self.milestones)]
        self.follows_length = min(lengths) < 1

    def setup(self, run: Run) -> None:
        super().setup(run)
        self.size = max(1, self.span(self.step_size)) if self.milestones is None else 0
        self.places = [max(1, self.span(place)) for place in self.milestones or []]
        if self.places != sorted(self.places):
            raise ConfigError(f"step.milestones must grow, and in updates they are {self.places}; put them in order")
        last = self.places[-1] if self.places else 0
        if self.updates is not None and last >= self.updates:
            raise ConfigError(
                f"step.milestones: a drop at update {last}, and the whole run has {self.updates}; give an earlier one"
            )

    def lr(self, step: int) -> float:
        drops = step // self.size if self.size else bisect_right(self.places, step)
        climb = min(1.0, (step + 1) / (self.warmup_updates + 1))
        return float(self.base * climb * self.gamma**drops)

    def plan_notes(self) -> Mapping[str, str]:
        where = f"every {self.size} updates" if self.size else f"at {', '.join(map(str, self.places)) or 'no update'}"
        return {"learning rate": f"{self.after_warmup()}, times {self.gamma:g} {where}"}

    def ineffective_settings(self, run: Run) -> list[str]:
        both = self.milestones is not None and self.changed("step_size")
        return ["step.step_size has no effect with step.milestones"] if both else []
