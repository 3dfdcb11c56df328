"""Layers whose weights are integers of 8 bits, with a scale for each filter, as they are shipped."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from accel.compress.convolutions import layer_output
from accel.compress.folded_norm import fold_norm
from accel.compress.quantisation.levels import INPUT_LEVELS, weight_codes
from accel.compress.quantisation.quantised_layer import QUANTISED

__all__ = ["IntegerLayer", "empty_integer_layer", "float_layer", "integer_layer"]


class IntegerLayer:
    """Layers whose weights, and inputs, are integers. Products are computed in float32: torch has no others in eager mode.

    Buffers: `weight`, int8, (C_out, ...); `weight_scale`, (C_out,) float32; `input_scale`, (1,) float32; `input_zero_point`, (1,)
    int32. The bias is float32.
    """

    kind: str

    def float_weight(self) -> Tensor:
        """Return the integers times their scales, (C_out, ...) float32."""
        layer: Any = self
        weight: Tensor = layer.weight.to(torch.float32)
        scaled: Tensor = weight * layer.weight_scale.view(-1, *[1] * (weight.dim() - 1))
        return scaled

    def forward(self, x: Tensor) -> Tensor:
        """Return the output of the layer, float32, of an input as torch's own layer takes it."""
        layer: Any = self
        scale, zero_point = layer.input_scale, layer.input_zero_point
        levels = (torch.round(x.float() * (1.0 / scale)) + zero_point).clamp(*INPUT_LEVELS[self.kind])
        return layer_output(layer, (levels - zero_point) * scale, self.float_weight(), layer.bias)


class IntegerConv1d(IntegerLayer, nn.Conv1d):
    """`nn.Conv1d` of integers."""


class IntegerConv2d(IntegerLayer, nn.Conv2d):
    """`nn.Conv2d` of integers."""


class IntegerConv3d(IntegerLayer, nn.Conv3d):
    """`nn.Conv3d` of integers."""


class IntegerLinear(IntegerLayer, nn.Linear):
    """`nn.Linear` of integers."""


INTEGER: dict[type[nn.Module], type[nn.Module]] = {
    nn.Conv1d: IntegerConv1d, nn.Conv2d: IntegerConv2d, nn.Conv3d: IntegerConv3d, nn.Linear: IntegerLinear,
}  # fmt: skip


def integer_layer(layer: Any, norm: _BatchNorm | None = None) -> nn.Module:
    """Return a layer of the integers with which a `QuantisedLayer` computes, and the norm after it, in evaluation.

    The norm changes scales and bias, in float64, and of the integers at most the sign.

    Args:
        layer: the layer, which is changed in place.
        norm: a BatchNorm that sees its output and nothing else does; None for none.
    """
    quantiser: Any = layer.input_quantiser
    with torch.no_grad():
        codes, scale = weight_codes(layer.weight)
        column, bias = fold_norm(scale.view(-1, 1), layer.bias, norm)
        sign = torch.sign(column).to(torch.int8)
        made = empty_integer_layer(layer, quantiser.kind)
        made.weight.copy_(codes * sign.view(-1, *[1] * (codes.dim() - 1)))
        made.weight_scale.copy_(column.flatten().abs())
        made.input_scale.copy_(quantiser.scale)
        made.input_zero_point.copy_(quantiser.zero_point)
        if bias is not None:
            made._parameters["bias"] = nn.Parameter(bias.float(), requires_grad=False)
    return cast(nn.Module, made)


def empty_integer_layer(layer: Any, kind: str, has_bias: bool = False) -> Any:
    """Return a layer as `integer_layer` does, for numbers that are loaded later. It is the same object.

    Args:
        layer: the layer that the user's code has made, or the one of 8 bits that took its place.
        kind: type of the integers of its inputs.
        has_bias: whether it has a bias though the layer has none: that of a norm which was folded in.
    """
    plain = next(own for own, few in QUANTISED.items() if type(layer) in (own, few))
    layer._modules.pop("input_quantiser", None)
    layer.__class__, layer.kind = INTEGER[plain], kind
    weight, bias = layer._parameters.pop("weight").detach(), layer._parameters["bias"]
    layer.register_buffer("weight", torch.zeros_like(weight, dtype=torch.int8))
    layer.register_buffer("weight_scale", weight.new_ones(len(weight), dtype=torch.float32))
    layer.register_buffer("input_scale", weight.new_ones(1, dtype=torch.float32))
    layer.register_buffer("input_zero_point", weight.new_zeros(1, dtype=torch.int32))
    if has_bias or bias is not None:
        layer._parameters["bias"] = nn.Parameter(weight.new_zeros(len(weight), dtype=torch.float32), requires_grad=False)
    return layer


def float_layer(layer: Any) -> None:
    """Let a layer of integers be torch's own again, in place, whose weights are the integers times their scales."""
    weight = layer.float_weight()
    for name in ("weight", "weight_scale", "input_scale", "input_zero_point"):
        del layer._buffers[name]
    layer.__class__ = next(plain for plain, kind in INTEGER.items() if isinstance(layer, kind))
    layer._parameters = {"weight": nn.Parameter(weight, requires_grad=False), "bias": layer._parameters["bias"]}
