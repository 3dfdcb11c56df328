"""OneCycle: the learning rate climbs to a peak and falls far below its start.

Helps   convergence in few epochs; large peak rates regularise, and the long
        fall settles the weights.
Hurts   runs of unknown length (it must know the number of updates), and
        stopping early: the best weights come last.
Costs   nothing: a pure function of the update's index, with no state. With
        cycle_momentum adamw has one more pass over the weights (their decay).
Source  Smith and Topin, Super-convergence, arXiv 1708.07120. Equals
        `torch.optim.lr_scheduler.OneCycleLR` with total_steps = the number of
        updates, without its traps: no division by zero when the climb is one
        update long, no rebound after the end, and the user's betas and momentum
        stay as they are unless cycle_momentum asks.
Exact   With cycle_momentum the fused adamw and lamb divide their first moment
        by 1 - beta1_1 beta1_2 ... beta1_t, which is what stands in it; torch
        divides by 1 - beta1^t with the last beta1, 17 % off in a run of 100
        updates. A skipped update does not count.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import cos, pi
from typing import TYPE_CHECKING, Literal

from accel.parts import Cycle
from accel.values import Decay, Positive

if TYPE_CHECKING:
    from accel.parts import Run

__all__ = ["OneCycle"]


@dataclass(eq=False)
class OneCycle(Cycle):
    """One cycle of the learning rate over the whole run.

    Args:
        max_lr: the peak; null takes the optimiser's lr.
        pct_start: the share of the updates spent climbing.
        div_factor: the first rate is max_lr / div_factor.
        final_div_factor: the last rate is the first / final_div_factor.
        anneal: the shape of both slopes.
        cycle_momentum: also move momentum (SGD) or beta1 (Adam) against the rate, from max_momentum to base_momentum and back.
        base_momentum: the lowest momentum, at the peak.
        max_momentum: the highest momentum, at both ends.
    """

    max_lr: Positive | None = None
    pct_start: Decay = 0.3
    div_factor: Positive = 25.0
    final_div_factor: Positive = 1e4
    anneal: Literal["cos", "linear"] = "cos"
    cycle_momentum: bool = False
    base_momentum: Decay = 0.85
    max_momentum: Decay = 0.95

    def setup(self, run: Run) -> None:
        super().setup(run)
        self.last = self.total() - 1
        self.floor = self.first / self.final_div_factor

    def lr(self, step: int) -> float:
        if step >= self.last:
            return self.floor
        return self._along(step, self.first, self.peak, self.floor)

    def momentum(self, step: int) -> float:
        if step >= self.last:
            return self.max_momentum
        return self._along(step, self.max_momentum, self.base_momentum, self.max_momentum)

    def plan_notes(self) -> Mapping[str, str]:
        return {"learning rate": f"{self.climb()}, down to {self.floor:.3g}"}

    def _along(self, step: int, first: float, peak: float, last: float) -> float:
        """The value at `step` on the way from `first` over `peak` to `last`, in torch's own arithmetic."""
        top = self.pct_start * (self.last + 1) - 1
        if step <= top:
            return self._between(first, peak, step / top if top else 1.0)
        return self._between(peak, last, (step - top) / (self.last - top))

    def _between(self, start: float, end: float, share: float) -> float:
        if self.anneal == "linear":
            return (end - start) * share + start
        return end + (start - end) / 2.0 * (cos(pi * share) + 1)
