"""The start of a first moment whose beta1 moves.

Adam divides the first moment by the weight that it has given to gradients so far: m began at 0 and holds, in place of the rest,
nothing. That weight is 1 - beta1^t only while beta1 stands still. With the beta1 of each step it is

    w = beta1 w + (1 - beta1)        that is, 1 - beta1_1 beta1_2 ... beta1_t

over the steps that were made: the first moment of gradients of 1. torch's kernels divide by 1 - beta1^t all the same, with the
last beta1; the learning rate can bring that back.
"""

from __future__ import annotations

from math import inf, log
from typing import Any

import torch
from torch import Tensor

WEIGHT = "exp_avg_weight"
"""The name of w among an optimiser's state: 0-dim float32 for each parameter."""


def adam_state_names(group: dict[str, Any]) -> tuple[str, ...]:
    """The names of the state that Adam's kernel takes of a group, and w where its beta1 is cycled and corrected for."""
    cycled = group.get("cycled") and group.get("bias_correction", True)
    return ("exp_avg", "exp_avg_sq", "step", WEIGHT) if cycled else ("exp_avg", "exp_avg_sq", "step")


def update_weights(weights: Tensor, beta1: float, found_inf: Tensor | None) -> None:
    """Counts a step in `weights`, (n,) float32, in place, unless `found_inf` (0-dim) says that it is skipped."""
    share = 1 - beta1 if found_inf is None else (1 - beta1) * (1 - found_inf)
    weights += (1 - weights) * share


def correction(steps: Tensor, weights: Tensor, beta1: float) -> Tensor:
    """(1 - beta1^t) / w for each parameter, (n,) float32; `steps` and `weights` (n,) count the present step.

    Finite where nothing was weighed yet, in a first step that is skipped.
    """
    wrong = torch.expm1(steps * (log(beta1) if beta1 else -inf)).neg_()  # without the loss of digits of 1 - beta1^t
    return wrong.div_(weights.clamp(min=1e-30))
