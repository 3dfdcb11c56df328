"""Levels of 8 bits, as torchao computes them: of inputs by a range, of weights by the largest of each filter."""

from __future__ import annotations

import torch
from torch import Tensor

from accel.compress.low_bits.straight_through import at_least_float32

__all__ = [
    "EPSILON", "INPUT_LEVELS", "WEIGHT_LEVELS", "fake_quantised_weight", "input_scale", "weight_codes", "weight_scale",
]  # fmt: skip

INPUT_LEVELS: dict[str, tuple[int, int]] = {"uint8": (0, 255), "int8": (-128, 127)}
"""The lowest and the highest level of an input, by the type of its integers."""
WEIGHT_LEVELS = (-127, 127)
"""Those of a weight: 0 lies in the middle, so that a filter may change its sign."""
EPSILON = torch.finfo(torch.float32).eps
"""The smallest scale, torchao's default."""


def input_scale(low: Tensor, high: Tensor, kind: str) -> tuple[Tensor, Tensor]:
    """Return scale, float32, and zero point, int32, of ranges, each in the shape of `low`. 0 is a level.

    Source: `UniformQuantizationObserverBase._calculate_qparams` of torchao 0.18, per_tensor_affine.

    Args:
        low: lower ends, float32.
        high: upper ends.
        kind: type of the integers.
    """
    least, most = INPUT_LEVELS[kind]
    below, above = low.clamp(max=0), high.clamp(min=0)
    scale = ((above - below) / float(most - least)).clamp(min=EPSILON)
    zero_point = least - torch.round(below / scale).to(torch.int32)
    return scale, zero_point.clamp(least, most)


def weight_scale(weight: Tensor) -> Tensor:
    """Return the scale of each filter, (C_out,) float32: its largest |w| is level 127.

    Source: as `input_scale`, per_channel_symmetric.
    """
    least, most = WEIGHT_LEVELS
    largest = at_least_float32(weight.detach()).flatten(1).abs().amax(1)
    return (largest / (float(most - least) / 2)).clamp(min=EPSILON).float()


def weight_codes(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return the integer of each weight, int8 in its shape, and the scale of each filter, (C_out,) float32."""
    scale = weight_scale(weight)
    levels = torch.round(weight.detach().float() * (1.0 / scale).view(-1, *[1] * (weight.dim() - 1)))
    return levels.clamp(*WEIGHT_LEVELS).to(torch.int8), scale


def fake_quantised_weight(weight: Tensor) -> Tensor:
    """Return the integers of weights times their scales, (C_out, ...), in the dtype of the weights.

    The gradient is handed on as it is: no weight is above the largest level.
    """
    scale = weight_scale(weight)
    zero_point = torch.zeros_like(scale)  # of integers torch would read the least and the most on the host
    levels = torch.fake_quantize_per_channel_affine(at_least_float32(weight).float(), scale, zero_point, 0, *WEIGHT_LEVELS)
    return levels.to(weight.dtype)
