"""The kernel of a layer with the BatchNorm after it folded in."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

__all__ = ["fold_norm"]


def fold_norm(
    weight: Tensor, bias: Tensor | None, norm: _BatchNorm | None, dim: int = 0, groups: int = 1
) -> tuple[Tensor, Tensor | None]:
    """Return kernel and bias, in float64, of the layer that computes a layer and its BatchNorm in evaluation.

    With s = gamma / sqrt(running_var + eps) the kernel is s W, and the bias beta + s (b - running_mean) (Ioffe and Szegedy, arXiv
    1502.03167, section 3.1).

    Args:
        weight: the kernel.
        bias: the bias; None for none.
        norm: the norm; None for none.
        dim: dimension of the kernel that has the output channels.
        groups: the number of groups, if each has its own output channels in that dimension: of a transposed convolution.
    """
    weight = weight.to(torch.float64)
    bias = None if bias is None else bias.to(torch.float64)
    if norm is None:
        return weight, bias
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = (norm.running_var.to(torch.float64) + norm.eps).rsqrt()
    if norm.weight is not None:
        scale = scale * norm.weight.to(torch.float64)
    shift = -norm.running_mean.to(torch.float64) * scale
    if bias is not None:
        shift = shift + bias * scale
    if norm.bias is not None:
        shift = shift + norm.bias.to(torch.float64)
    shape = [1] * weight.dim()
    shape[dim] = -1
    if groups == 1:
        return weight * scale.view(shape), shift
    shape[0] = groups
    grouped = weight.reshape(groups, -1, *weight.shape[1:]) * scale.view(groups, 1, -1, *[1] * (weight.dim() - 2))
    return grouped.flatten(0, 1), shift
