"""Polynomial: a learning rate that falls as a power of what is left of the run.

Helps   segmentation (power 0.9), and large batches with lars or lamb (power 2),
        whose recipes have it.
Hurts   runs of unknown length, because the number of updates must be known;
        runs that are stopped early.
Costs   nothing: a pure function of the update's index, without state.
Source  Chen et al., DeepLab, arXiv 1606.00915 (power 0.9); You et al., Large
        Batch Training of Convolutional Networks, arXiv 1708.03888 (power 2).
        Equals torch's LinearLR(1 / (W + 1), total_iters=W) followed by
        PolynomialLR(updates - 1 - W, power), and where there is a floor
        transformers' get_polynomial_decay_schedule_with_warmup(W + 1, updates,
        lr_end, power), whose update t + 1 is update t here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from accel.parts.shared.warmed import Decaying
from accel.values import Fraction, NonNegative, Positive

__all__ = ["Polynomial"]


@dataclass(eq=False)
class Polynomial(Decaying):
    """A power of the share of the run that is left, from the optimiser's lr to the floor, after a linear warm-up.

    Args:
        power: power of the share that is left; 1 is a straight line.
        warmup: length of the warm-up: below 1 a share of all updates, from 1 on a number of updates; 0 for none.
        floor: last learning rate, as a share of the optimiser's lr.
    """

    power: Positive = 2.0
    warmup: NonNegative = 0.05
    floor: Fraction = 0.0

    def left(self, share: float) -> float:
        return float((1 - share) ** self.power)

    def plan_notes(self) -> Mapping[str, str]:
        last = f"{self.final_lr:.3g}"
        return {"learning rate": f"{self.after_warmup()}, down to {last} as the power {self.power:g} of what is left"}
