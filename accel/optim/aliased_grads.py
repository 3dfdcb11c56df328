"""Gradients that share memory, which autograd hands out where two parameters met after a reshape (`a.view(-1) + b.view(-1)`).

Reading them is safe. Who divides each of them in place divides the shared numbers twice: torch's fused kernels with `grad_scale`
do, and `clip_grad_norm_` (torch 2.13).
"""

from __future__ import annotations

from torch import Tensor

__all__ = ["copy_aliased"]


def copy_aliased(grads: list[Tensor]) -> list[Tensor]:
    """The gradients (dense, of any shape and dtype), each in memory of its own: one that begins within another's is copied. The
    same list where none does."""
    shared, end = [], 0
    for start, place in sorted([(grad.data_ptr(), place) for place, grad in enumerate(grads)]):
        if start < end:
            shared.append(place)
        end = max(end, start + grads[place].nbytes)
    if not shared:
        return grads
    return [grad.clone() if place in shared else grad for place, grad in enumerate(grads)]
