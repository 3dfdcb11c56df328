"""Ternary Weight Networks: weights of -1, 0 and +1 with a scale for each filter (Li et al. 2016, arXiv 1605.04711)."""

from __future__ import annotations

import torch
from torch import Tensor

from accel.compress.low_bits.straight_through import over_filter, straight_through

__all__ = ["twn_codes", "twn_levels", "twn_weight"]


def twn_weight(weight: Tensor) -> Tensor:
    """Return alpha W^t, (C_out, ...): W^t by equation 3, and alpha, the mean of |w| above the threshold, by equation 5.

    The gradient is handed on as it is, as in BinaryConnect: the section on training.
    """
    levels, scale = _ternary(weight.detach())
    return straight_through(levels * scale, weight)


def twn_codes(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return the number of the level of each weight, uint8 of 0, 1 and 2, and the scale of each filter, (C_out,)."""
    levels, scale = _ternary(weight.detach())
    return (levels + 1).to(torch.uint8), scale.flatten()


def twn_levels(codes: Tensor) -> Tensor:
    """Return the levels -1, 0 and +1 that codes stand for, in the dtype of `codes`, a float."""
    return codes - 1


def _ternary(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return W^t and alpha, (C_out, 1, ...). The threshold is 0.7 E(|w|) over each filter.

    Source: the section on the threshold; 0.7 is the factor of the paper's first version, and of micronet. The third has 0.75.
    """
    size = weight.abs()
    above = (size > 0.7 * over_filter(size)).to(weight.dtype)
    count = over_filter(above).clamp_min(torch.finfo(weight.dtype).tiny)
    return torch.sign(weight) * above, over_filter(size * above) / count
