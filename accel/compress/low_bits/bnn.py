"""Binarized Neural Networks: weights and inputs of -1 and +1 (Courbariaux et al. 2016, arXiv 1602.02830)."""

from __future__ import annotations

import torch
from torch import Tensor

from accel.compress.low_bits.straight_through import sign, straight_through

__all__ = ["bnn_codes", "bnn_input", "bnn_weight"]


def bnn_weight(weight: Tensor) -> Tensor:
    """Return sign(W): equation 1. The gradient is handed on; the weights stay within [-1, 1] by a clip after each update.

    Source: section 1.3, and algorithm 1 for the clip.
    """
    return straight_through(sign(weight), weight)


def bnn_codes(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return the number of the level of each weight, uint8 of 0 and 1, and the scale of each filter, (C_out,), which is 1."""
    return (weight.detach() >= 0).to(torch.uint8), weight.new_ones(len(weight)).detach()


def bnn_input(x: Tensor) -> Tensor:
    """Return sign(x), with the gradient handed on where |x| <= 1, and 0 elsewhere: equations 1 and 4."""
    return straight_through(sign(x), x.clamp(-1, 1))
