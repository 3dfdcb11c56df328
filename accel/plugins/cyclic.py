"""Cyclic: a learning rate that rises and falls in straight lines, again and again.

Helps   runs whose length is open: with step_size in updates it need not be
        known. The valleys are good points to stop at.
Hurts   the last accuracy, compared with one fall to nothing (onecycle, cosine).
        A run that does not end in a valley ends at a high rate.
Costs   nothing: a pure function of the update's index, without state. With
        cycle_momentum, adamw has one more pass over the weights, for their
        decay.
Source  Smith, Cyclical Learning Rates for Training Neural Networks, arXiv
        1506.01186. Equals `torch.optim.lr_scheduler.CyclicLR` stepped once per
        update, without its trap: the user's betas and momentum stay as they are
        unless cycle_momentum asks.
Exact   With cycle_momentum the fused adamw and lamb divide their first moment
        by 1 - beta1_1 beta1_2 ... beta1_t, the weight of the gradients in it.
        In torch the divisor is 1 - beta1^t with the last beta1.
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
        mode: height of the peaks: triangular keeps it, triangular2 halves it per cycle, exp_range takes it times gamma per update.
        max_lr: learning rate at the first peak; null takes the optimiser's lr.
        div_factor: first peak over the base: the lowest rate is max_lr / div_factor.
        step_size: length of a climb: below 1 a share of all updates, from 1 on a number of updates.
        step_size_down: length of a fall, in the same way; null takes the length of a climb.
        gamma: factor per update on the height of the peaks, with mode=exp_range.
        cycle_momentum: also move momentum (SGD) or beta1 (Adam) against the rate, from max_momentum to base_momentum and back.
        base_momentum: lowest momentum, at a full peak.
        max_momentum: highest momentum, in the valleys.
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

    def __post_init__(self) -> None:
        super().__post_init__()
        self.follows_length = min(self.step_size, self.step_size_down or 1) < 1

    def setup(self, run: Run) -> None:
        super().setup(run)
        self.climb_updates = max(1, self.span(self.step_size))
        self.fall_updates = self.climb_updates if self.step_size_down is None else max(1, self.span(self.step_size_down))

    def lr(self, step: int) -> float:
        return self.first + (self.peak - self.first) * self.relative_height(step)

    def momentum(self, step: int) -> float:
        return self.max_momentum - (self.max_momentum - self.base_momentum) * self.relative_height(step)

    def relative_height(self, step: int) -> float:
        """Return the height of the rate above the base at update `step`, from 0: 0 in a valley, 1 at the first peak."""
        length = self.climb_updates + self.fall_updates
        cycle, position = divmod(step, length)
        share = position / self.climb_updates if position <= self.climb_updates else (length - position) / self.fall_updates
        if self.mode == "triangular2":
            return share * 0.5**cycle
        return share * self.gamma**step if self.mode == "exp_range" else share

    def plan_notes(self) -> Mapping[str, str]:
        suffixes = {
            "triangular": "",
            "triangular2": ", half as high each cycle",
            "exp_range": f", {self.gamma:g} as high each update",
        }
        fall = f"down in {self.fall_updates}{suffixes[self.mode]}"
        return {"learning rate": f"{self.climb()} in {self.climb_updates} updates, {fall}"}

    def ineffective_settings(self, run: Run) -> list[str]:
        messages = super().ineffective_settings(run)
        if self.mode != "exp_range" and self.changed("gamma"):
            messages.append("cyclic.gamma has no effect without cyclic.mode=exp_range")
        return messages
