"""OneCycle: a learning rate that climbs to a peak and falls far below its start.

Helps   convergence in few epochs: large peak rates regularise, and the long
        fall settles the weights.
Hurts   runs of unknown length, because the number of updates must be known;
        runs that are stopped early, because the best weights come last.
Costs   nothing: a pure function of the update's index, without state. With
        cycle_momentum, adamw has one more pass over the weights, for their
        decay.
Source  Smith and Topin, Super-convergence, arXiv 1708.07120. Equals
        `torch.optim.lr_scheduler.OneCycleLR` with total_steps = the number of
        updates, without its traps. A climb of one update does not divide by
        zero, and the rate does not rebound after the end. The user's betas and
        momentum stay as they are unless cycle_momentum asks.
Exact   With cycle_momentum, fused adamw and lamb divide their first moment by 1
        - beta1_1 beta1_2 ... beta1_t, the weight of the gradients in it. In
        torch the divisor is 1 - beta1^t with the last beta1, which is 17 % off
        in a run of 100 updates. A skipped update does not count.
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
        max_lr: learning rate at the peak; null takes the optimiser's lr.
        pct_start: share of all updates spent climbing.
        div_factor: peak over the first rate: the run begins at max_lr / div_factor.
        final_div_factor: first rate over the last: the run ends at max_lr / div_factor / final_div_factor.
        anneal: shape of both slopes: half a cosine, or a straight line.
        cycle_momentum: also move momentum (SGD) or beta1 (Adam) against the rate, from max_momentum to base_momentum and back.
        base_momentum: lowest momentum, at the peak.
        max_momentum: highest momentum, at both ends.
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
        self.last_step = self.total() - 1
        self.final_lr = self.first / self.final_div_factor

    def lr(self, step: int) -> float:
        if step >= self.last_step:
            return self.final_lr
        return self._value_at(step, self.first, self.peak, self.final_lr)

    def momentum(self, step: int) -> float:
        if step >= self.last_step:
            return self.max_momentum
        return self._value_at(step, self.max_momentum, self.base_momentum, self.max_momentum)

    def plan_notes(self) -> Mapping[str, str]:
        return {"learning rate": f"{self.climb()}, down to {self.final_lr:.3g}"}

    def _value_at(self, step: int, first: float, peak: float, last: float) -> float:
        """Return the value at update `step` on the way from `first` over `peak` to `last`, in torch's own arithmetic."""
        top = self.pct_start * (self.last_step + 1) - 1
        if step <= top:
            return self._anneal(first, peak, step / top if top else 1.0)
        return self._anneal(peak, last, (step - top) / (self.last_step - top))

    def _anneal(self, start: float, end: float, share: float) -> float:
        """Return the value at a `share`, from 0 to 1, of the way from `start` to `end`."""
        if self.anneal == "linear":
            return (end - start) * share + start
        return end + (start - end) / 2.0 * (cos(pi * share) + 1)
