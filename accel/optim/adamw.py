"""AdamW in torch's fused kernel."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.optim import AdamW

from accel.optim.cycled_betas import adam_state_names
from accel.optim.fused import Fused
from accel.optim.kernel_row import KernelRow

__all__ = ["FusedAdamW", "adamw", "adamw_kernel", "cycled_adamw"]


class FusedAdamW(Fused, AdamW):
    """`torch.optim.AdamW(fused=True)` that corrects the first moment of groups whose beta1 is cycled.

    In groups marked `cycled` the first moment is divided by the true weight of its gradients (`accel.optim.cycled_betas`).

    Args:
        params: tensors, or groups of them.
        **settings: of `torch.optim.AdamW`; `amsgrad` is refused at the first step.

    Source: Loshchilov and Hutter, Decoupled Weight Decay Regularization, arXiv 1711.05101.
    """

    per_parameter = True
    takes_bare_grads = True
    algorithms = ("adamw",)
    unsupported = ("amsgrad",)

    def __init__(self, params: Any, **settings: Any) -> None:
        super().__init__(params, fused=True, **settings)

    def state_names(self, group: dict[str, Any]) -> tuple[str, ...]:
        """Return the names of Adam's state, with the weight of the first moment if its beta1 is cycled."""
        return adam_state_names(group)

    def kernel(self, row: KernelRow, grads: list[Any]) -> None:
        """Move the parameters of a row by torch's fused AdamW kernel."""
        adamw(self, row, grads)


def adamw(optimizer: Fused, row: KernelRow, grads: list[Any]) -> None:
    """Move a row, whose state is that of `adam_state_names`, by torch's fused AdamW kernel."""
    group = row.group
    optimizer.count(row)
    if group.get("cycled"):
        cycled_adamw(optimizer, row, grads)
    else:
        adamw_kernel(optimizer, row, row.tensors, grads, row.state, group["lr"], group["weight_decay"])
    optimizer.uncount(row)


def cycled_adamw(optimizer: Fused, row: KernelRow, grads: list[Any]) -> None:
    """Move a row whose beta1 is cycled. The learning rate includes the correction; weight decay, which does not, is done first."""
    group, skip = row.group, optimizer.found_inf
    lr, weight_decay = group["lr"], group["weight_decay"]
    rates = optimizer.corrections(row) * lr
    if weight_decay:
        remaining = 1 - lr * weight_decay
        torch._foreach_mul_(row.tensors, remaining if skip is None else torch.where(skip > 0, 1.0, remaining))
    if not group.get("uneven"):  # all parameters have made equal steps
        adamw_kernel(optimizer, row, row.tensors, grads, row.state, rates[0], 0.0)
        return
    for tensor, grad, rate, *state in zip(row.tensors, grads, rates.unbind(), *row.state, strict=True):
        adamw_kernel(optimizer, row, [tensor], [grad], [[value] for value in state], rate, 0.0)


def adamw_kernel(
    optimizer: Fused, row: KernelRow, tensors: list[Tensor], grads: list[Any], state: list[list[Tensor]],
    lr: float | Tensor, decay: float,
) -> None:  # fmt: skip
    """Call torch's kernel, where it is right, for a row or for some of its parameters."""
    group = row.group
    row.kernel("adamw")(
        tensors, grads, state[0], state[1], [], state[2], lr=lr, beta1=group["betas"][0], beta2=group["betas"][1],
        weight_decay=decay, eps=group["eps"], amsgrad=False, maximize=group.get("maximize", False),
        grad_scale=optimizer.scale, found_inf=optimizer.found_inf,
    )  # fmt: skip
