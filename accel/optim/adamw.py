"""AdamW in torch's fused kernel."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.optim import AdamW

from accel.optim.cycled_betas import adam_state_names
from accel.optim.fused import Fused
from accel.optim.kernel_row import KernelRow


class FusedAdamW(Fused, AdamW):
    """`torch.optim.AdamW(fused=True)`; in groups that are `cycled`, whose beta1 moves, with the first moment corrected by the true
    product of all beta1 (`accel.optim.cycled_betas`)."""

    per_parameter = True
    unsupported = ("amsgrad",)

    def __init__(self, params: Any, **settings: Any) -> None:
        super().__init__(params, fused=True, **settings)

    def state_names(self, group: dict[str, Any]) -> tuple[str, ...]:
        return adam_state_names(group)

    def kernel(self, row: KernelRow, grads: list[Any]) -> None:
        adamw(self, row, grads)


def adamw(optimizer: Fused, row: KernelRow, grads: list[Any]) -> None:
    """Moves a row whose state is that of `moments` by torch's fused AdamW kernel."""
    group = row.group
    optimizer.count(row)
    if group.get("cycled"):
        cycled_adamw(optimizer, row, grads)
    else:
        adamw_kernel(optimizer, group, row.tensors, grads, row.state, group["lr"], group["weight_decay"])
    optimizer.uncount(row)


def cycled_adamw(optimizer: Fused, row: KernelRow, grads: list[Any]) -> None:
    """The step with a beta1 that moves. The rate has the correction in it; the decay, by the rate as it is, is made apart."""
    group, skip = row.group, optimizer.found_inf
    lr, decay = group["lr"], group["weight_decay"]
    rates = optimizer.corrections(row) * lr
    if decay:
        rest = 1 - lr * decay
        torch._foreach_mul_(row.tensors, rest if skip is None else torch.where(skip > 0, 1.0, rest))
    if not group.get("uneven"):  # all have made the same steps
        adamw_kernel(optimizer, group, row.tensors, grads, row.state, rates[0], 0.0)
        return
    for tensor, grad, rate, *state in zip(row.tensors, grads, rates.unbind(), *row.state, strict=True):
        adamw_kernel(optimizer, group, [tensor], [grad], [[value] for value in state], rate, 0.0)


def adamw_kernel(
    optimizer: Fused, group: dict[str, Any], tensors: list[Tensor], grads: list[Any], state: list[list[Tensor]],
    lr: float | Tensor, decay: float,
) -> None:  # fmt: skip
    """torch's kernel, for a row or for some of it."""
    torch._fused_adamw_(
        tensors, grads, state[0], state[1], [], state[2], lr=lr, beta1=group["betas"][0], beta2=group["betas"][1],
        weight_decay=decay, eps=group["eps"], amsgrad=False, maximize=group.get("maximize", False),
        grad_scale=optimizer.scale, found_inf=optimizer.found_inf,
    )  # fmt: skip
