"""Cyclic: the learning rate rises and falls in straight lines, again and again.

Helps   runs whose length is open (with step_size in updates it need not be
        known); the valleys are good points to stop at.
Hurts   the last accuracy, against one fall to nothing (onecycle, cosine); a run
        that does not end in a valley ends at a high rate.
Costs   nothing: a pure function of the update's index, with no state. With
        cycle_momentum adamw has one more pass over the weights (their decay).
Source  Smith, Cyclical Learning Rates for Training Neural Networks, arXiv
        1506.01186. Equals `torch.optim.lr_scheduler.CyclicLR` stepped once per
        update, without its trap: the user's betas and momentum stay as they are
        unless cycle_momentum asks.
Exact   With cycle_momentum the fused adamw and lamb divide their first moment
        by 1 - beta1_1 beta1_2 ... beta1_t, which is what stands in it; torch
        divides by 1 - beta1^t with the last beta1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from accel.parts import Cycle
from accel.values import Decay, Fraction, Positive

if TYPE_CHECKING:
    from accel.parts import Run

__all__ = ["Cyclic"]


@dataclass(eq=False)
class Cyclic(Cycle):
    """Cycles of the learning rate between a base and a peak.

    Args:
        mode: triangular keeps the peak; triangular2 halves its height each cycle; exp_range multiplies it by gamma each update.
        max_lr: the first peak; null takes the optimiser's lr.
        div_factor: the base is max_lr / div_factor.
        step_size: the length of a climb: below 1 a share of all updates, from 1 on a number of updates.
        step_size_down: the length of a fall, likewise; null takes that of a climb.
        gamma: of exp_range.
        cycle_momentum: also move momentum (SGD) or beta1 (Adam) against the rate, from max_momentum to base_momentum and back.
        base_momentum: the lowest momentum, at a full peak.
        max_momentum: the highest momentum, in the valleys.
    """

    mode: Literal["triangular", "triangular2", "exp_range"] = "triangular"
    max_lr: Positive | None = None
    div_factor: Positive = 25.0
    step_size: Positive = 0.125
    step_size_down: Positive | None = None
    gamma: Fraction = 0.99994
    cycle_momentum: bool = False
    base_momentum: Decay = 0.8
    max_momentum: Decay = 0.9

    def setup(self, run: Run) -> None:
        super().setup(run)
        self.up = max(1, self.span(self.step_size))
        self.down = self.up if self.step_size_down is None else max(1, self.span(self.step_size_down))

    def lr(self, step: int) -> float:
        return self.first + (self.peak - self.first) * self.height(step)

    def momentum(self, step: int) -> float:
        return self.max_momentum - (self.max_momentum - self.base_momentum) * self.height(step)

    def height(self, step: int) -> float:
        """How far above the base the rate is at update `step`: 0 in a valley, 1 at the first peak."""
        cycle, at = divmod(step, self.up + self.down)
        share = at / self.up if at <= self.up else (self.up + self.down - at) / self.down
        if self.mode == "triangular2":
            return share * 0.5**cycle
        return share * self.gamma**step if self.mode == "exp_range" else share

    def plan_notes(self) -> Mapping[str, str]:
        shrinks = {
            "triangular": "",
            "triangular2": ", half as high each cycle",
            "exp_range": f", {self.gamma:g} as high each update",
        }
        return {"learning rate": f"{self.climb()} in {self.up} updates, down in {self.down}{shrinks[self.mode]}"}

    def ineffective_settings(self, run: Run) -> list[str]:
        found = super().ineffective_settings(run)
        if self.mode != "exp_range" and self.changed("gamma"):
            found.append("cyclic.gamma has no effect without cyclic.mode=exp_range")
        return found
