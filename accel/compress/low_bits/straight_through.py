"""Functions that are steps going forward, and something smooth going backward."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["at_least_float32", "over_filter", "sign", "straight_through"]


def straight_through(value: Tensor, surrogate: Tensor) -> Tensor:
    """Return `value` to the bit, with the gradient of `surrogate`.

    Source: Bengio et al., Estimating or Propagating Gradients Through Stochastic Neurons, arXiv 1308.3432.

    Args:
        value: what is computed, of any shape.
        surrogate: a finite tensor of the same shape, whose gradient takes the place of that of `value`.
    """
    return value.detach() + (surrogate - surrogate.detach())  # the difference is 0


def sign(x: Tensor) -> Tensor:
    """Return +1 where x is 0 or more and -1 elsewhere, in its dtype, without a gradient.

    Source: Courbariaux et al., arXiv 1602.02830, equation 1.
    """
    return (x.detach() >= 0).to(x.dtype) * 2 - 1


def at_least_float32(x: Tensor) -> Tensor:
    """Return a tensor in float32 if it is in 16 bits: a threshold or a mean in 16 bits moves levels."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def over_filter(values: Tensor) -> Tensor:
    """Return the mean over each filter of a kernel (C_out, C_in, ...), as (C_out, 1, ...)."""
    return values.flatten(1).mean(1).view(-1, *[1] * (values.dim() - 1))
