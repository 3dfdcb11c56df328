"""XNOR-Net: inputs of -1 and +1 with a scale for each position (Rastegari et al. 2016, arXiv 1603.05279); weights are as in BWN."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from accel.compress.low_bits.bnn import bnn_input

__all__ = ["input_scale", "xnor_input"]


def xnor_input(x: Tensor) -> Tensor:
    """Return sign(x), with the gradient handed on where |x| <= 1, and 0 elsewhere: the paper's section 3.1, as in BNN."""
    return bnn_input(x)


def input_scale(layer: Any, x: Tensor) -> Tensor:
    """Return K, by which the product of signs is multiplied: the mean of |x| under each position of the kernel, equation 11.

    It has no gradient, for which the paper gives no rule.

    Args:
        layer: a convolution or a Linear.
        x: its input.

    Returns:
        (N, C_out or 1, ...), or (..., 1) of a Linear.
    """
    size = x.detach().abs()
    if isinstance(layer, nn.Linear):
        return size.mean(-1, keepdim=True)
    kernel = size.new_ones(layer.groups, layer.in_channels // layer.groups, *layer.kernel_size)
    scale: Tensor = layer._conv_forward(size, kernel / kernel[0].numel(), None)
    channels = scale.dim() - len(layer.kernel_size) - 1
    return scale if layer.groups == 1 else scale.repeat_interleave(layer.out_channels // layer.groups, channels)
