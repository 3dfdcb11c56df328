"""Newton-Schulz iteration: many matrices made orthogonal at once.

Source: Jordan et al., kellerjordan.github.io/posts/muon; the reference implementation is `torch.optim.Muon`.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["orthogonalise"]


def orthogonalise(
    matrices: Tensor, coefficients: tuple[float, float, float], steps: int, eps: float, dtype: torch.dtype = torch.bfloat16
) -> Tensor:
    """Return the matrices with their singular values brought near to 1: about U V^T of their U S V^T.

    With the usual coefficients the singular values end between 0.7 and 1.2.

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
