"""Gradients that share memory, which autograd returns if two parameters met after a reshape (`a.view(-1) + b.view(-1)`).

Reading them is safe. Dividing each in place divides the shared numbers twice: torch's fused kernels do so with `grad_scale`,
and so does `clip_grad_norm_` (torch 2.13).
"""

from __future__ import annotations

from torch import Tensor

__all__ = ["copy_aliased"]


def copy_aliased(grads: list[Tensor]) -> list[Tensor]:
    """Return the gradients, each in memory of its own: one that begins within another's is copied.

    Args:
        grads: dense, of any shape and dtype.

    Returns:
        The list itself if no memory is shared.
    """
    aliased, end = [], 0
    for start, index in sorted([(grad.data_ptr(), index) for index, grad in enumerate(grads)]):
        if start < end:
            aliased.append(index)
        end = max(end, start + grads[index].nbytes)
    if not aliased:
        return grads
    return [grad.clone() if index in aliased else grad for index, grad in enumerate(grads)]
