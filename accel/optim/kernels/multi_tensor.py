"""Updates of many tensors in one launch each, by numbers on the device, and of none of them where an update is skipped.

torch's operations on lists launch one kernel for each tensor where every tensor has a factor of its own, as a tensor: all but
`_foreach_addcmul_`, and that one only in the dtype of the tensors (torch 2.10 to 2.14; `_foreach_addcdiv_` does not divide so). Its
fused SGD kernel computes x - lr (g + weight_decay x) with `lr` and `found_inf` on the device: so it is a sum, and an interpolation,
with a condition.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from accel.optim.kernels.plain_kernels import Kernel

__all__ = ["Factors", "add_products", "interpolate", "subtract"]

SGD: dict[str, Any] = {"momentum": 0.0, "dampening": 0.0, "nesterov": False, "is_first_step": False}


def subtract(
    kernel: Kernel, tensors: list[Tensor], others: list[Tensor], rate: float | Tensor, skip: Tensor | None, decay: float = 0.0
) -> None:
    """Compute `tensors - rate (others + decay tensors)` in place.

    Args:
        kernel: that of SGD, as `torch._fused_sgd_`.
        tensors: of one dtype on one device.
        others: of their shapes and dtype.
        rate: one for all, a number or 0-dim on the device.
        skip: 0-dim float32: nothing moves if it is 1; None stands for 0.
        decay: a share of the tensors themselves.
    """
    if tensors:
        kernel(tensors, others, [], lr=rate, weight_decay=decay, maximize=False, found_inf=skip, **SGD)


def interpolate(kernel: Kernel, tensors: list[Tensor], ends: list[Tensor], weight: float | Tensor, skip: Tensor | None) -> None:
    """Move tensors, in place, towards others by a share of the way. The arguments are those of `subtract`."""
    kernel(tensors, ends, [], lr=weight, weight_decay=1.0, maximize=True, found_inf=skip, **SGD)


class Factors:
    """A number for each of several tensors, float32 at least, in one tensor on the device, whose views are made once."""

    def __init__(self, tensors: list[Tensor]) -> None:
        dtype = torch.promote_types(tensors[0].dtype, torch.float32)
        self.values = torch.zeros(len(tensors), dtype=dtype, device=tensors[0].device)
        """(n,)."""
        self.views = list(self.values.unbind())


def add_products(targets: list[Tensor], tensors: list[Tensor], factors: list[Tensor], value: float = 1.0) -> None:
    """Add `value` times each tensor times its factor to its target, in place.

    Args:
        targets: of one dtype on one device; 16-bit ones are added to in float32, and rounded once.
        tensors: of their shapes and dtype.
        factors: 0-dim each, of the dtype of `Factors`.
        value: a factor of all.
    """
    if not targets:
        return
    dtype = factors[0].dtype
    if targets[0].dtype == dtype:
        torch._foreach_addcmul_(targets, tensors, factors, value=value)
        return
    wide, addends = ([torch.empty_like(each, dtype=dtype) for each in each_list] for each_list in (targets, tensors))
    torch._foreach_copy_(wide + addends, targets + tensors)
    torch._foreach_addcmul_(wide, addends, factors, value=value)
    torch._foreach_copy_(targets, wide)
