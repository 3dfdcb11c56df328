"""Cosine: a learning rate that falls along half a cosine, after a warm-up.

Helps   long runs of transformers and convnets. There is no peak to find besides
        the optimiser's own lr.
Hurts   runs of unknown length, because the number of updates must be known;
        runs that are stopped early.
Costs   nothing: a pure function of the update's index, without state.
Source  Loshchilov and Hutter, SGDR, arXiv 1608.03983 (without restarts). Equals
        torch's LinearLR(1 / (W + 1), total_iters=W) followed by
        CosineAnnealingLR(T_max = updates - 1 - W, eta_min = floor). W is the
        length of the warm-up in updates.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import cos, pi

from accel.parts.shared.warmed import Decaying
from accel.values import Fraction, NonNegative

__all__ = ["Cosine"]


@dataclass(eq=False)
class Cosine(Decaying):
    """Half a cosine from the optimiser's lr to the floor, after a linear warm-up.

    Args:
        warmup: length of the warm-up: below 1 a share of all updates, from 1 on a number of updates; 0 for none.
        floor: last learning rate, as a share of the optimiser's lr.
    """

    warmup: NonNegative = 0.05
    floor: Fraction = 0.0

    def left(self, share: float) -> float:
        return (1 + cos(pi * share)) / 2

    def plan_notes(self) -> Mapping[str, str]:
        return {"learning rate": f"{self.base:.3g} after {self.warmup_updates} updates of warm-up, down to {self.final_lr:.3g}"}
