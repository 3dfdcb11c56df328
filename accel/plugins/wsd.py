"""WSD: warm-up, a long stable learning rate, and a short decay at the end.

Helps   pre-training: the run can be made longer later from a checkpoint before
        the decay, and a short decay is nearly as good as a whole cosine.
Hurts   runs of unknown length, because the decay must know the end; runs that
        are stopped before it.
Costs   nothing: a pure function of the update's index, without state.
Source  Hu et al., MiniCPM, arXiv 2404.06395; the shape sqrt: Hägele et al.,
        Scaling Laws and Compute-Optimal Training Beyond Fixed Training
        Durations, arXiv 2405.18392. Update t has the rate that transformers'
        get_wsd_schedule(num_warmup_steps=W + 1, num_decay_steps=D,
        num_training_steps=updates, decay_type=shape) gives to update t + 1,
        with W and D the lengths of warm-up and decay in updates.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import cos, pi, sqrt
from typing import TYPE_CHECKING, Literal

from accel.errors import ConfigError
from accel.parts.shared.warmed import Warmed
from accel.values import Fraction, NonNegative, Positive

if TYPE_CHECKING:
    from accel.parts import Run

__all__ = ["WSD"]


@dataclass(eq=False)
class WSD(Warmed):
    """The optimiser's lr between a linear warm-up and a decay to the floor at the end.

    Args:
        warmup: length of the warm-up: below 1 a share of all updates, from 1 on a number of updates; 0 for none.
        decay: length of the decay, in the same way.
        shape: shape of the decay: one minus the root of its share, a straight line, or half a cosine.
        floor: last learning rate, as a share of the optimiser's lr.
    """

    warmup: NonNegative = 0.05
    decay: Positive = 0.2
    shape: Literal["sqrt", "linear", "cosine"] = "sqrt"
    floor: Fraction = 0.0

    def setup(self, run: Run) -> None:
        super().setup(run)
        self.last_step, self.decay_updates = self.total() - 1, max(1, self.span(self.decay))
        if self.warmup_updates + self.decay_updates > self.total():
            raise ConfigError(
                f"wsd: {self.warmup_updates} updates of warm-up and {self.decay_updates} of decay, and the whole run has "
                f"{self.total()}; make one of them shorter"
            )

    def factor(self, step: int) -> float:
        share = (step - self.last_step) / self.decay_updates + 1
        if share <= 0:
            return 1.0
        if share >= 1:
            return self.floor
        left = {"sqrt": 1 - sqrt(share), "linear": 1 - share, "cosine": (1 + cos(pi * share)) / 2}[self.shape]
        return self.floor + (1 - self.floor) * left

    def plan_notes(self) -> Mapping[str, str]:
        return {
            "learning rate": f"{self.after_warmup()}, constant, and down to {self.base * self.floor:.3g} in the last "
            f"{self.decay_updates} updates"
        }
