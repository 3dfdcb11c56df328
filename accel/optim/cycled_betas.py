"""The start of a first moment whose beta1 moves.

Adam divides the first moment by the weight of the gradients in it. The moment starts at 0, so at first the gradients have
less than the full weight of 1. That weight is 1 - beta1^t only while beta1 stands still. With the beta1 of each step it is

    w = beta1 w + (1 - beta1)        that is, 1 - beta1_1 beta1_2 ... beta1_t

over the steps made so far: the first moment of gradients of 1. torch's kernels divide by 1 - beta1^t nevertheless, with the
last beta1. The learning rate can undo that.

Source: Kingma and Ba, Adam, arXiv 1412.6980, section 3, for the constant beta1.
"""

from __future__ import annotations

from math import inf, log
from typing import Any

import torch
from torch import Tensor

__all__ = ["WEIGHT", "adam_state_names", "correction", "update_weights"]

WEIGHT = "exp_avg_weight"
"""The name of w in an optimiser's state: 0-dim float32 for each parameter."""


def adam_state_names(group: dict[str, Any]) -> tuple[str, ...]:
    """Return the names of the state of Adam's kernel for a group, with w if beta1 is cycled and corrected for."""
    cycled = group.get("cycled") and group.get("bias_correction", True)
    return ("exp_avg", "exp_avg_sq", "step", WEIGHT) if cycled else ("exp_avg", "exp_avg_sq", "step")


def update_weights(weights: Tensor, beta1: float, found_inf: Tensor | None) -> None:
    """Count a step in `weights`, (n,) float32, in place, unless `found_inf` (0-dim) says that it is skipped."""
    share = 1 - beta1 if found_inf is None else (1 - beta1) * (1 - found_inf)
    weights += (1 - weights) * share


def correction(steps: Tensor, weights: Tensor, beta1: float) -> Tensor:
    """Return (1 - beta1^t) / w for each parameter, (n,) float32.

    It is finite in a first step that is skipped, when no gradient has any weight yet.

    Args:
        steps: (n,) float32, the present step included.
        weights: (n,) float32, the present step included.
        beta1: of the present step.
    """
    assumed = torch.expm1(steps * (log(beta1) if beta1 else -inf)).neg_()  # without the loss of digits of 1 - beta1^t
    return assumed.div_(weights.clamp(min=1e-30))
