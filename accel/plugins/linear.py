"""Linear: a learning rate that falls in a straight line, after a warm-up.

Helps   fine-tuning of transformers, whose recipes have it, and short runs.
Hurts   runs of unknown length, because the number of updates must be known;
        runs that are stopped early.
Costs   nothing: a pure function of the update's index, without state.
Source  Equals torch's LinearLR(1 / (W + 1), total_iters=W) followed by
        LinearLR(1, floor, total_iters = updates - 1 - W). W is the length of
        the warm-up in updates. Update t has the rate that transformers'
        get_linear_schedule_with_warmup(W + 1, updates) gives to update t + 1:
        there the first update has a rate of 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from accel.parts.shared.warmed import Decaying
from accel.values import Fraction, NonNegative

__all__ = ["Linear"]


@dataclass(eq=False)
class Linear(Decaying):
    """A straight line from the optimiser's lr to the floor, after a linear warm-up.

    Args:
        warmup: length of the warm-up: below 1 a share of all updates, from 1 on a number of updates; 0 for none.
        floor: last learning rate, as a share of the optimiser's lr.
    """

    warmup: NonNegative = 0.05
    floor: Fraction = 0.0

    def left(self, share: float) -> float:
        return 1 - share

    def plan_notes(self) -> Mapping[str, str]:
        return {"learning rate": f"{self.after_warmup()}, down to {self.final_lr:.3g} in a straight line"}
