"""SGD in torch's fused kernel."""

from __future__ import annotations

from typing import Any

import torch
from torch.optim import SGD

from accel.optim.fused import Fused
from accel.optim.kernel_row import KernelRow

__all__ = ["FusedSGD"]


class FusedSGD(Fused, SGD):
    """`torch.optim.SGD(fused=True)`, with its momentum buffers made at once, as zeros.

    torch makes them, uninitialised, in the first step; a fused first step that is skipped leaves them as garbage
    (torch 2.13), and the second step adds it to the weights. Starting from zero is the same arithmetic: 0 * momentum + g.
    Dampening would make it another, and is not there.
    """

    per_parameter = True
    unsupported = ("dampening",)

    def __init__(self, params: Any, **settings: Any) -> None:
        super().__init__(params, fused=True, **settings)

    def state_names(self, group: dict[str, Any]) -> tuple[str, ...]:
        return ("momentum_buffer",) if group["momentum"] else ()

    def kernel(self, row: KernelRow, grads: list[Any]) -> None:
        group = row.group
        torch._fused_sgd_(
            row.tensors, grads, row.state[0] if row.state else [], lr=group["lr"], momentum=group["momentum"],
            weight_decay=group["weight_decay"], dampening=0.0, nesterov=group["nesterov"], maximize=group["maximize"],
            is_first_step=False, grad_scale=self.scale, found_inf=self.found_inf,
        )  # fmt: skip
