"""Layers whose weights are packed bits with a scale for each filter, as they are shipped."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from accel.compress.folded_norm import fold_norm
from accel.compress.low_bits.low_bit_layer import LowBitLayer, changed_class
from accel.compress.low_bits.packed_codes import count_bytes, pack_codes, unpack_codes
from accel.compress.low_bits.scheme import Scheme
from accel.compress.low_bits.straight_through import at_least_float32

__all__ = ["PackedLayer", "empty_packed_layer", "packed_layer"]


class PackedLayer(LowBitLayer):
    """Layers whose weights are bits. Each forward pass makes floats of them, which take the memory of one layer for its time.

    Buffers: `packed`, uint8, the codes of the weights; `scale`, (C_out,), by which levels are multiplied.
    """

    weight_shape: tuple[int, ...]

    @property
    def weight(self) -> Tensor:
        """The weights as floats, (C_out, ...), in the dtype of `scale`."""
        layer: Any = self
        codes = unpack_codes(layer.packed, self.scheme.code_bits, self.weight_shape).to(layer.scale.dtype)
        scale = layer.scale.view(-1, *[1] * (len(self.weight_shape) - 1))
        levels: Tensor = self.scheme.levels(codes) * scale
        return levels

    def level_weight(self, x: Tensor) -> Tensor:
        return self.weight.to(x.dtype)


class PackedConv1d(PackedLayer, nn.Conv1d):  # type: ignore[override]  # the weight is made of bits
    """`nn.Conv1d` with packed weights."""


class PackedConv2d(PackedLayer, nn.Conv2d):  # type: ignore[override]  # the weight is made of bits
    """`nn.Conv2d` with packed weights."""


class PackedConv3d(PackedLayer, nn.Conv3d):  # type: ignore[override]  # the weight is made of bits
    """`nn.Conv3d` with packed weights."""


class PackedLinear(PackedLayer, nn.Linear):  # type: ignore[override]  # the weight is made of bits
    """`nn.Linear` with packed weights."""


PACKED: tuple[tuple[type[nn.Module], type[nn.Module]], ...] = (
    (nn.Conv1d, PackedConv1d), (nn.Conv2d, PackedConv2d), (nn.Conv3d, PackedConv3d), (nn.Linear, PackedLinear),
)  # fmt: skip


def packed_layer(layer: Any, scheme: Scheme, norm: _BatchNorm | None = None) -> nn.Module:
    """Return a layer with packed weights that computes in evaluation what a layer of few bits does, and the norm after it.

    Without a norm it does so to the bit. The norm changes the scales and the bias, in float64, and no level.

    Args:
        layer: the layer, with float weights.
        scheme: its levels.
        norm: a BatchNorm that sees its output and nothing else does; None for none.
    """
    with torch.no_grad():
        codes, scale = scheme.codes(layer.weight)
        bias = layer.bias
        if norm is not None:
            column, shift = fold_norm(scale.view(-1, 1), bias, norm)
            assert shift is not None
            scale, bias = column.flatten().to(scale.dtype), nn.Parameter(shift.to(layer.weight.dtype))
        made = empty_packed_layer(layer, scheme)
        made._buffers.update(packed=pack_codes(codes, scheme.code_bits), scale=scale.clone())
        made._parameters["bias"] = bias
    return cast(nn.Module, made)


def empty_packed_layer(layer: Any, scheme: Scheme, has_bias: bool = False) -> Any:
    """Return a layer as `packed_layer` does, for weights that are loaded later.

    Args:
        layer: the layer that the user's code has made.
        scheme: its levels.
        has_bias: whether it has a bias though the layer has none: that of a norm which was folded in.
    """
    made = changed_class(layer, next(packed for own, packed in PACKED if isinstance(layer, own)))
    weight = made._parameters.pop("weight")
    made.scheme, made.weight_shape = scheme, tuple(weight.shape)
    made.register_buffer("packed", weight.new_zeros(count_bytes(weight.numel(), scheme.code_bits), dtype=torch.uint8))
    made.register_buffer("scale", at_least_float32(weight.new_ones(len(weight))))
    if has_bias and layer.bias is None:
        made._parameters["bias"] = nn.Parameter(weight.new_zeros(len(weight)))
    return made
