"""The arithmetic of torch's fused kernels in plain tensor operations: for weights that no fused kernel can move.

Each function is called as the kernel that it stands in for, and obeys `grad_scale` and `found_inf` likewise, without a read on the
host. It takes tensors of any memory layout.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import inf, log
from typing import Any

import torch
from torch import Tensor

__all__ = ["PLAIN", "Kernel", "plain_adam", "plain_sgd"]

Kernel = Callable[..., Any]
"""A kernel that moves lists of weights, as `torch._fused_sgd_` and `torch._fused_adam_` do."""


def plain_sgd(
    params: list[Tensor], grads: list[Tensor], buffers: list[Tensor], *, lr: float | Tensor, momentum: float, weight_decay: float,
    dampening: float, nesterov: bool, maximize: bool, is_first_step: bool,
    grad_scale: Tensor | None = None, found_inf: Tensor | None = None,
) -> None:  # fmt: skip
    """Move weights as `torch._fused_sgd_` does, with the rounding of `torch.optim.SGD(foreach=True)`."""
    skip = None if found_inf is None else found_inf != 0
    updates = _true_grads(grads, grad_scale, maximize)
    if weight_decay:
        updates = list(torch._foreach_add(updates, params, alpha=weight_decay))
    if momentum:
        # in place, as torch does: out of place it rounds 16-bit products in another way (torch 2.13)
        moved = buffers if skip is None else [buffer.clone() for buffer in buffers]
        torch._foreach_mul_(moved, momentum)
        torch._foreach_add_(moved, updates, alpha=1 - dampening)
        if skip is not None:
            torch._foreach_copy_(buffers, [torch.where(skip, *pair) for pair in zip(buffers, moved, strict=True)])
        updates = list(torch._foreach_add(updates, moved, alpha=momentum)) if nesterov else moved
    if skip is not None:  # an infinity times 0 would be NaN
        updates = [update.masked_fill(skip, 0.0) for update in updates]
    if isinstance(lr, Tensor):
        updates, lr = list(torch._foreach_mul(updates, lr)), 1.0
    torch._foreach_add_(params, updates, alpha=-lr)


def plain_adam(
    params: list[Tensor], grads: list[Tensor], averages: list[Tensor], squares: list[Tensor], largest: list[Tensor],
    steps: list[Tensor], *, lr: float | Tensor, beta1: float, beta2: float, weight_decay: float, eps: float, amsgrad: bool,
    maximize: bool, grad_scale: Tensor | None = None, found_inf: Tensor | None = None, decoupled: bool = False,
) -> None:  # fmt: skip
    """Move weights as `torch._fused_adam_` does, in float32 at least; with `decoupled` as `torch._fused_adamw_`."""
    skip = None if found_inf is None else found_inf != 0
    for *tensors, count in zip(params, _true_grads(grads, grad_scale, maximize), averages, squares, steps, strict=True):
        wide = torch.promote_types(tensors[0].dtype, torch.float32)
        param, grad, average, square, step = (tensor.to(wide) for tensor in (*tensors, count))
        if weight_decay and not decoupled:
            grad = grad + weight_decay * param
        average = torch.lerp(average, grad, 1 - beta1)
        square = beta2 * square + (1 - beta2) * grad * grad
        first, second = (-torch.expm1(step * (log(beta) if beta else -inf)) for beta in (beta1, beta2))  # exactly 1 - beta^t
        scale = lr / first
        root = square.sqrt() / second.sqrt() + eps
        moved = (param * (1 - lr * weight_decay) if weight_decay and decoupled else param) - scale * (average / root)
        for old, new in zip((tensors[0], tensors[2], tensors[3]), (moved, average, square), strict=True):
            old.copy_(new if skip is None else torch.where(skip, old, new))


def _true_grads(grads: list[Tensor], scale: Tensor | None, maximize: bool) -> list[Tensor]:
    """Return the gradients divided by their scale, of which the weights are to move against; the list itself if nothing is done."""
    grads = grads if scale is None else list(torch._foreach_div(grads, scale))
    return list(torch._foreach_neg(grads)) if maximize else grads


PLAIN: dict[str, Kernel] = {"sgd": plain_sgd, "adam": plain_adam, "adamw": partial(plain_adam, decoupled=True)}
"""The kernels by the name of their algorithm."""
