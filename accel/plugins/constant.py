"""Constant: the optimiser's learning rate, after a linear warm-up.

Helps   runs of unknown length, and fine-tuning that only wants a gentle start.
Hurts   the last accuracy: nothing settles the weights at the end.
Costs   nothing: a pure function of the update's index, without state.
Source  Equals torch's LinearLR(1 / (W + 1), total_iters=W), with W the length
        of the warm-up in updates. Update t has the rate that transformers'
        get_constant_schedule_with_warmup(num_warmup_steps=W + 1) gives to
        update t + 1: there the first update has a rate of 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from accel.parts.shared.warmed import Warmed
from accel.values import NonNegative

__all__ = ["Constant"]


@dataclass(eq=False)
class Constant(Warmed):
    """The optimiser's lr, after a linear warm-up.

    Args:
        warmup: length of the warm-up: below 1 a share of all updates, from 1 on a number of updates; 0 for none.
    """

    warmup: NonNegative = 0.05

    def __post_init__(self) -> None:
        super().__post_init__()
        self.follows_length = 0 < self.warmup < 1

    def plan_notes(self) -> Mapping[str, str]:
        return {"learning rate": f"{self.after_warmup()}, constant"}
