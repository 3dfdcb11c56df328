"""Matrices of one shape, which Muon makes orthogonal and moves together.

Source: Jordan et al., kellerjordan.github.io/posts/muon; the reference implementation is `torch.optim.Muon`.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import sqrt
from typing import Any, NamedTuple

import torch
from torch import Tensor

from accel.optim.kernels.multi_tensor import subtract
from accel.optim.kernels.plain_kernels import PLAIN, Kernel

__all__ = [
    "CPU_BATCH",
    "DEVICE_BATCH",
    "MatrixBatch",
    "apply_updates",
    "batch_positions",
    "common_base",
    "lr_ratio",
    "orthogonalise",
    "subtract_updates",
]

CPU_BATCH, DEVICE_BATCH = 1 << 20, 1 << 25
"""The most numbers that are orthogonalised together, on a CPU and elsewhere. More would only take more memory, about 12 bytes each.
"""


class MatrixBatch(NamedTuple):
    """Matrices of one shape, which are orthogonalised together."""

    places: list[int]
    """The indices of the matrices in the row."""
    params: list[Tensor]
    buffers: list[Tensor]
    """The `momentum_buffer` of each."""
    momentum: Tensor | None
    """The buffers as one tensor, (n, *shape), which shares their memory; None if they are not the slices of one tensor."""
    lr_ratio: float
    """The factor of the learning rate, for the shape."""


def orthogonalise(
    matrices: Tensor, coefficients: tuple[float, float, float], steps: int, eps: float, dtype: torch.dtype = torch.bfloat16
) -> Tensor:
    """Return the matrices with their singular values brought near to 1: about U V^T of their U S V^T.

    It is a Newton-Schulz iteration. With the usual coefficients the singular values end between 0.7 and 1.2.

    Args:
        matrices: (n, rows, columns), of any floating dtype.
        coefficients: a, b, c of the quintic x = a x + (b A + c A A) x, with A = x x^T.
        steps: the number of iterations.
        eps: the least norm to divide by.
        dtype: of the arithmetic, and of the result.

    Returns:
        A new tensor of the shape of `matrices`.
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


def apply_updates(batch: MatrixBatch, group: dict[str, Any], updates: Tensor, skip: Tensor | None) -> None:
    """Subtract the updates, and the weight decay, from the matrices of a batch.

    Args:
        batch: the matrices.
        group: their settings.
        updates: (n, *shape), orthogonal.
        skip: 0-dim bool: nothing moves if it is true; None stands for false.
    """
    dtype = torch.promote_types(batch.params[0].dtype, torch.float32)
    keep, lr = 1 - group["lr"] * group["weight_decay"], group["lr"] * batch.lr_ratio
    if not isinstance(keep, Tensor):  # torch 2.13 rounds a number to bfloat16 before it multiplies bfloat16 weights with it
        keep = torch.full((), keep, dtype=dtype, device=updates.device)
    if skip is not None:
        keep, lr = torch.where(skip, 1.0, keep), torch.where(skip, 0.0, lr)
    if group["weight_decay"]:
        torch._foreach_mul_(batch.params, keep)
    if isinstance(lr, Tensor):
        updates, lr = updates.to(dtype) * lr, 1.0
    elif updates.device.type != "cpu":  # there all tensors go at once where they have one format
        updates = updates.to(batch.params[0].dtype)
    torch._foreach_add_(batch.params, list(updates.unbind()), alpha=-lr)


def subtract_updates(kernel: Kernel, batch: MatrixBatch, group: dict[str, Any], updates: Tensor, skip: Tensor | None) -> None:
    """Do the same on a device, in one launch with one rounding.

    Args:
        kernel: that of SGD.
        batch: the matrices.
        group: their settings.
        updates: (n, *shape), orthogonal.
        skip: 0-dim float32: nothing moves if it is 1; None stands for 0.
    """
    first = batch.params[0]
    if all(param.stride() == first.stride() for param in batch.params):
        moves = first.new_empty_strided(updates.shape, (first.numel(), *first.stride())).copy_(updates)
    else:  # the fused kernel takes them in one order of memory
        kernel, moves = PLAIN["sgd"], updates.to(first.dtype)
    subtract(kernel, batch.params, list(moves.unbind()), group["lr"] * batch.lr_ratio, skip, group["weight_decay"] / batch.lr_ratio)


def lr_ratio(param: Tensor, adjust: str | None) -> float:
    """Return the factor of the learning rate of a matrix: `original` for None, or `match_rms_adamw`."""
    rows, columns = param.shape[0], param.shape[1:].numel()
    return 0.2 * sqrt(max(rows, columns)) if adjust == "match_rms_adamw" else sqrt(max(1, rows / columns))


def batch_positions(params: list[Tensor]) -> Iterable[list[int]]:
    """Yield the indices of matrices of one shape, at most as many together as fit into a batch."""
    groups: dict[torch.Size, list[list[int]]] = {}
    for index, param in enumerate(params):
        capacity = max(1, (CPU_BATCH if param.device.type == "cpu" else DEVICE_BATCH) // max(1, param.numel()))
        group = groups.setdefault(param.shape, [[]])
        if len(group[-1]) == capacity:
            group.append([])
        group[-1].append(index)
    return [indices for group in groups.values() for indices in group]


def common_base(slices: list[Tensor]) -> Tensor | None:
    """Return the tensor of which these are the slices, all of them and in order; None if there is no such tensor."""
    base = slices[0]._base
    if base is None or len(base) != len(slices):
        return None
    step = base.stride(0)
    in_order = all(part._base is base and part.storage_offset() == index * step for index, part in enumerate(slices))
    return base if in_order else None
