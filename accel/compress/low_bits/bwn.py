"""Binary-Weight-Networks: weights of -1 and +1 with a scale for each filter (Rastegari et al. 2016, arXiv 1603.05279)."""

from __future__ import annotations

import torch
from torch import Tensor

from accel.compress.low_bits.straight_through import over_filter, sign, straight_through

__all__ = ["bwn_codes", "bwn_levels", "bwn_weight"]


def bwn_weight(weight: Tensor) -> Tensor:
    """Return alpha sign(W), (C_out, ...): alpha is the mean of |w| over the n weights of each filter, equation 6.

    The gradient, in section 3.1 on training: dC/dW_i = dC/dW~_i (1 / n + alpha 1(|W_i| <= 1)). For the last factor the paper prints
    the function of which it is the derivative, r 1(|r| <= 1).
    """
    alpha = over_filter(weight.detach().abs())
    surrogate = weight / weight[0].numel() + alpha * weight.clamp(-1, 1)
    return straight_through(sign(weight) * alpha, surrogate)


def bwn_codes(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return the number of the level of each weight, uint8 of 0 and 1, and the scale of each filter, (C_out,)."""
    weight = weight.detach()
    return (weight >= 0).to(torch.uint8), over_filter(weight.abs()).flatten()


def bwn_levels(codes: Tensor) -> Tensor:
    """Return the levels -1 and +1 that codes stand for, in the dtype of `codes`, a float."""
    return codes * 2 - 1
