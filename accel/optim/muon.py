"""Muon: momentum whose matrices are made orthogonal, all of one shape at once; and AdamW for what is no hidden matrix.

torch's own (`torch.optim.Muon`) orthogonalises one matrix after another: for small matrices a row of small products that keeps
no device busy. Here the matrices of one shape are one batch, and their momentum lies in one tensor, of which each parameter's
`momentum_buffer` is a slice: what comes before and after the products is one operation for all of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import sqrt
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from accel.optim.adamw import adamw
from accel.optim.cycled_betas import adam_state_names
from accel.optim.fused import Fused, Memory
from accel.optim.kernel_row import KernelRow

CPU_BATCH, DEVICE_BATCH = 1 << 20, 1 << 25
"""Numbers that are orthogonalised together, at most: more would only take more memory, about 12 bytes each while it lasts."""

ONLY_MUON = ("momentum", "nesterov", "ns_coefficients", "ns_steps", "ns_dtype", "adjust_lr_fn")
ONLY_ADAMW = ("betas",)
DEFAULTS = {"adamw_lr": "lr", "adamw_eps": "eps"}
"""What `lr` and `eps` are called in the defaults, for groups with `adamw`."""


class Batch(NamedTuple):
    """Matrices of one shape, which are orthogonalised together."""

    places: list[int]
    """Where in the row they stand."""
    params: list[Tensor]
    buffers: list[Tensor]
    """The `momentum_buffer` of each."""
    momentum: Tensor | None
    """The same in one tensor, `(len(params), *shape)`, in the same memory; None where some of it belongs to others."""
    lr_ratio: float
    """What the learning rate is multiplied by, for the shape."""


class Muon(Fused):
    """Muon for matrices, and AdamW for the groups that say `adamw=True`.

    For each matrix p with gradient g; a kernel of more dimensions counts as the matrix `(out, in * height * width)`

        m = momentum m + (1 - momentum) g
        u = orthogonal((1 - momentum) g + momentum m), or orthogonal(m) without nesterov
        p = p - lr weight_decay p - lr r u

    where orthogonal(m) brings all singular values of m near to 1 by `ns_steps` of a Newton-Schulz iteration, and r is
    sqrt(max(1, rows / columns)) (`original`) or 0.2 sqrt(max(rows, columns)) (`match_rms_adamw`: updates as long as AdamW's).
    Results are those of `torch.optim.Muon`, which takes two dimensions alone, to rounding. `p.grad`, `grad_scale`, `found_inf`
    and host reads are as with `LAMB`.

        names = hidden(model)                                                       # accel.optim.hidden_matrices
        params = dict(model.named_parameters())
        Muon([
            {"params": [params.pop(name) for name in names]},
            {"params": params.values(), "adamw": True, "lr": 1e-3},
        ])

    Args:
        params: tensors, or groups of them; the state has the dtype of its parameter.
        lr: the learning rate of the matrices.
        weight_decay: the share of each weight taken off per update, times lr.
        momentum: how slowly the mean of the gradients forgets.
        nesterov: look ahead along the momentum.
        ns_coefficients: of the iteration: x = a x + (b A + c A A) x with A = x x^T.
        eps: the least norm that a matrix is divided by before the iteration.
        ns_steps: how often it is repeated.
        adjust_lr_fn: how the learning rate follows the shape; None is original.
        adamw_lr: the learning rate of groups with `adamw`, where they have none of their own.
        betas: of AdamW.
        adamw_eps: of AdamW, where a group has no eps of its own.
        ns_dtype: of the iteration. float32 is for CPUs without instructions for bfloat16.

    Raises:
        ValueError: for a tensor of fewer than two dimensions in a group without `adamw`.

    Source: Jordan et al., Muon: An optimizer for hidden layers in neural networks, kellerjordan.github.io/posts/muon; the ratio
    match_rms_adamw: Liu et al., Muon is Scalable for LLM Training, arXiv 2502.16982.
    """

    def __init__(
        self,
        params: Any,
        lr: float | Tensor = 1e-3,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_coefficients: tuple[float, float, float] = (3.4445, -4.7750, 2.0315),
        eps: float = 1e-7,
        ns_steps: int = 5,
        adjust_lr_fn: Literal["original", "match_rms_adamw"] | None = None,
        *,
        adamw_lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        adamw_eps: float = 1e-8,
        ns_dtype: Literal["bfloat16", "float32"] = "bfloat16",
    ) -> None:
        if adjust_lr_fn not in (None, "original", "match_rms_adamw"):
            raise ValueError(f"adjust_lr_fn must be original or match_rms_adamw, not {adjust_lr_fn!r}")
        settings = {
            "lr": lr, "weight_decay": weight_decay, "momentum": momentum, "nesterov": nesterov, "ns_coefficients": ns_coefficients,
            "eps": eps, "ns_steps": ns_steps, "adjust_lr_fn": adjust_lr_fn, "betas": betas, "ns_dtype": ns_dtype,
            "adamw_lr": adamw_lr, "adamw_eps": adamw_eps, "fused": True,
        }  # fmt: skip
        super().__init__(params, settings)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Adds a group with the settings of its own algorithm alone, so that nobody changes one that has no effect."""
        param_group.setdefault("adamw", False)
        if param_group["adamw"]:
            for name, short in DEFAULTS.items():
                param_group.setdefault(short, self.defaults[name])
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        for name in (*DEFAULTS, *(ONLY_MUON if group["adamw"] else ONLY_ADAMW)):
            group.pop(name)
        for param in () if group["adamw"] else group["params"]:
            if param.dim() < 2:
                raise ValueError(
                    f"Muon moves matrices, and a parameter has the shape {tuple(param.shape)}: its group needs adamw=True"
                )

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:
            group.setdefault("adamw", False)
            if not group["adamw"]:  # torch.optim.Muon's has none
                group.setdefault("ns_dtype", "bfloat16")

    def state_names(self, group: dict[str, Any]) -> tuple[str, ...]:
        return adam_state_names(group) if group["adamw"] else ("momentum_buffer",)

    def stack_counters(self, row: KernelRow) -> KernelRow:
        """The row with its momentum in one tensor for each batch, of which the state has the slices."""
        if row.group["adamw"]:
            return super().stack_counters(row)
        [buffers] = row.state
        for places in batches(row.params):
            for place, part in zip(places, torch.stack([buffers[i] for i in places]).unbind(), strict=True):
                buffers[place] = self.state[row.params[place]]["momentum_buffer"] = part
        return row

    def plan(self, row: KernelRow, memory: Memory) -> list[Batch]:
        if row.group["adamw"]:
            return []
        found = []
        for places in batches(row.params):
            params, buffers = ([tensors[i] for i in places] for tensors in (row.params, row.state[0]))
            found.append(Batch(places, params, buffers, common_base(buffers), lr_ratio(params[0], row.group["adjust_lr_fn"])))
        return found

    def kernel(self, row: KernelRow, grads: list[Any]) -> None:
        if row.group["adamw"]:
            adamw(self, row, grads)
            return
        skip = None if self.found_inf is None else self.found_inf.bool()
        for batch in row.plan:
            update = self.direction(batch, row.group, torch.stack([grads[i] for i in batch.places]), skip)
            apply_updates(batch, row.group, update, skip)

    def direction(self, batch: Batch, group: dict[str, Any], grads: Tensor, skip: Tensor | None) -> Tensor:
        """The orthogonal updates of a batch, `(n, *shape)` in the format of the iteration, from its gradients, written over."""
        momentum = torch.stack(batch.buffers) if batch.momentum is None else batch.momentum
        if self.scale is not None:
            grads.div_(self.scale)
        if skip is not None:  # the mean of the momentum with itself is what it was, to the bit
            grads = torch.where(skip, momentum, grads)
        momentum.lerp_(grads, 1 - group["momentum"])
        if batch.momentum is None:
            torch._foreach_copy_(batch.buffers, list(momentum.unbind()))
        ahead = grads.lerp_(momentum, group["momentum"]) if group["nesterov"] else momentum
        dtype: torch.dtype = getattr(torch, group["ns_dtype"])
        return orthogonal(ahead.flatten(2), group["ns_coefficients"], group["ns_steps"], group["eps"], dtype).reshape(ahead.shape)


def apply_updates(batch: Batch, group: dict[str, Any], updates: Tensor, skip: Tensor | None) -> None:
    """Takes the updates, and the decay, off the matrices of a batch, or nothing where `skip` is true."""
    dtype = torch.promote_types(batch.params[0].dtype, torch.float32)
    keep, rate = 1 - group["lr"] * group["weight_decay"], group["lr"] * batch.lr_ratio
    if not isinstance(keep, Tensor):  # torch 2.13 rounds a number to bfloat16 before it multiplies bfloat16 weights with it
        keep = torch.full((), keep, dtype=dtype, device=updates.device)
    if skip is not None:
        keep, rate = torch.where(skip, 1.0, keep), torch.where(skip, 0.0, rate)
    if group["weight_decay"]:
        torch._foreach_mul_(batch.params, keep)
    if isinstance(rate, Tensor):
        updates, rate = updates.to(dtype) * rate, 1.0
    elif updates.device.type != "cpu":  # there all tensors go at once where they have one format
        updates = updates.to(batch.params[0].dtype)
    torch._foreach_add_(batch.params, list(updates.unbind()), alpha=-rate)


def orthogonal(
    matrices: Tensor, coefficients: tuple[float, float, float], steps: int, eps: float, dtype: torch.dtype = torch.bfloat16
) -> Tensor:
    """The matrices with their singular values brought near to 1 (0.7 to 1.2 with the usual coefficients): U V^T of their U S V^T.

    Args:
        matrices: (n, rows, columns), of any floating dtype.
        coefficients: a, b, c of the quintic x = a x + (b A + c A A) x, with A = x x^T.
        steps: how often it is applied.
        eps: the least norm to divide by.
        dtype: of the arithmetic, and of the result.
    """
    a, b, c = coefficients
    tall = matrices.shape[1] > matrices.shape[2]
    x = (matrices.mT if tall else matrices).to(dtype, copy=True)
    x.div_(torch.linalg.vector_norm(x, dim=(1, 2), keepdim=True).clamp_(min=eps))  # no singular value is above the 2-norm of all
    for _ in range(steps):
        gram = x @ x.mT
        inner = torch.baddbmm(gram, gram, gram, beta=b, alpha=c) if c else gram * b  # alpha=0 gives noise on a CPU (torch 2.13)
        x = torch.baddbmm(x, inner, x, beta=a)
    return x.mT if tall else x


def lr_ratio(param: Tensor, adjust: str | None) -> float:
    """What the learning rate of a matrix is multiplied by."""
    rows, columns = param.shape[0], param.shape[1:].numel()
    return 0.2 * sqrt(max(rows, columns)) if adjust == "match_rms_adamw" else sqrt(max(1, rows / columns))


def batches(params: list[Tensor]) -> Iterable[list[int]]:
    """Where in `params` those of one shape stand, no more of them together than fit into a batch."""
    found: dict[torch.Size, list[list[int]]] = {}
    for place, param in enumerate(params):
        most = max(1, (CPU_BATCH if param.device.type == "cpu" else DEVICE_BATCH) // max(1, param.numel()))
        lists = found.setdefault(param.shape, [[]])
        if len(lists[-1]) == most:
            lists.append([])
        lists[-1].append(place)
    return [places for lists in found.values() for places in lists]


def common_base(slices: list[Tensor]) -> Tensor | None:
    """The tensor of which these are the slices, all of them and in order; None where there is no such tensor."""
    whole = slices[0]._base
    if whole is None or len(whole) != len(slices):
        return None
    step = whole.stride(0)
    there = all(part._base is whole and part.storage_offset() == place * step for place, part in enumerate(slices))
    return whole if there else None
