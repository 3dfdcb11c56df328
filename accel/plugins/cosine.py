"""Cosine: the rate falls along half a cosine, after an optional warm-up.

Helps   long runs of transformers and convnets; no peak to find beyond the
        optimiser's own lr.
Hurts   runs of unknown length (it must know the number of updates), and
        stopping early.
Costs   nothing: a pure function of the update's index, with no state.
Source  Loshchilov and Hutter, SGDR, arXiv 1608.03983 (without restarts). Equals
        torch's LinearLR(1 / (W + 1), total_iters=W) followed by
        CosineAnnealingLR(T_max = updates - 1 - W, eta_min = floor), W the
        warm-up's updates.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import cos, pi
from typing import TYPE_CHECKING

from accel.errors import ConfigError
from accel.parts import Schedule
from accel.values import Fraction, NonNegative

if TYPE_CHECKING:
    from accel.parts import Run

__all__ = ["Cosine"]


@dataclass(eq=False)
class Cosine(Schedule):
    """Half a cosine from the optimiser's lr to the floor, after a linear warm-up.

    Args:
        warmup: the length of the warm-up: below 1 a share of all updates, from 1 on a number of updates; 0 for none.
        floor: the last rate as a share of the optimiser's lr.
    """

    warmup: NonNegative = 0.05
    floor: Fraction = 0.0

    def setup(self, run: Run) -> None:
        super().setup(run)
        self.last, self.climb = self.total() - 1, self.span(self.warmup)
        self.lowest = self.base * self.floor
        if self.climb > self.last:
            raise ConfigError(f"cosine.warmup is {self.climb} updates and the whole run {self.total()}; make the warm-up shorter")

    def lr(self, step: int) -> float:
        if step >= self.last:
            return self.lowest
        if step < self.climb:
            return self.base * (step + 1) / (self.climb + 1)
        share = (step - self.climb) / (self.last - self.climb)
        return self.lowest + (self.base - self.lowest) * (1 + cos(pi * share)) / 2

    def apply(self, step: int) -> None:
        self.optim.set_lr(self.lr(step))

    def plan_notes(self) -> Mapping[str, str]:
        return {"learning rate": f"{self.base:.3g} after {self.climb} updates of warm-up, down to {self.lowest:.3g}"}
