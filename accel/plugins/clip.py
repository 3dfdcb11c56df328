"""Gradient clipping: limits the gradient before the step.

Helps   recurrent nets and transformers, large learning rates, noisy batches:
        one bad batch no longer throws the weights away.
Hurts   when max_norm is below the usual norm: then it is a normalised-gradient
        method, and lr means something else.
Costs   norm: one read of the gradients; the factor is applied inside the fused
        optimiser's own pass. value: a pass more.
Source  Pascanu et al., On the difficulty of training recurrent neural networks,
        arXiv 1211.5063; the formula is that of
        `torch.nn.utils.clip_grad_norm_`: g * min(1, max_norm / (norm + 1e-6)).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch

from accel.parts import Clip as ClipPart
from accel.parts import Grads
from accel.values import Positive

if TYPE_CHECKING:
    from accel.parts import Run


@dataclass(eq=False)
class Clip(ClipPart):
    """Gradient clipping of the whole window's unscaled, synchronised gradient.

    Args:
        mode: norm shortens the whole gradient to max_norm; value limits each number to +-max_value.
        max_norm: the longest 2-norm over all parameters.
        max_value: the largest absolute value.
    """

    mode: Literal["norm", "value"] = "norm"
    max_norm: Positive = 1.0
    max_value: Positive = 1.0

    def limit(self, grads: Grads) -> Grads:
        if self.mode == "norm":
            grads.grow(grads.norm().add(1e-6).div_(self.max_norm).clamp_(min=1.0))
        else:
            tensors = grads.materialise()
            torch._foreach_clamp_min_(tensors, -self.max_value)
            torch._foreach_clamp_max_(tensors, self.max_value)
        return grads

    def uncapturable(self) -> str:
        return ""

    def idle(self, run: Run) -> list[str]:
        dead = self.changed("max_value" if self.mode == "norm" else "max_norm")
        return [f"clip.{name} has no effect with clip.mode={self.mode}" for name in dead]
