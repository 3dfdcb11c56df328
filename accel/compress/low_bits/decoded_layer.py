"""Layers of few bits whose levels stand there as floats, for engines that read no packed bits."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from accel.compress.low_bits.low_bit_layer import LowBitLayer, changed_class
from accel.compress.low_bits.packed_layer import PACKED, PackedLayer

__all__ = ["DecodedLayer", "decode_packed"]


class DecodedLayer(LowBitLayer):
    """Layers whose weights are floats of few levels, which are computed with as they are."""

    def level_weight(self, x: Tensor) -> Tensor:
        layer: Any = self
        weight: Tensor = layer.weight.to(x.dtype)
        return weight


class DecodedConv1d(DecodedLayer, nn.Conv1d):
    """`nn.Conv1d` with levels for weights."""


class DecodedConv2d(DecodedLayer, nn.Conv2d):
    """`nn.Conv2d` with levels for weights."""


class DecodedConv3d(DecodedLayer, nn.Conv3d):
    """`nn.Conv3d` with levels for weights."""


class DecodedLinear(DecodedLayer, nn.Linear):
    """`nn.Linear` with levels for weights."""


DECODED = dict(zip((packed for _, packed in PACKED), (DecodedConv1d, DecodedConv2d, DecodedConv3d, DecodedLinear), strict=True))


def decode_packed(model: nn.Module) -> nn.Module:
    """Return a model with float weights in the place of packed bits, of the same levels: it computes the same to the bit.

    Args:
        model: the model, which is changed in place unless it is such a layer itself.
    """
    for module in model.modules():
        for name, child in module.named_children():
            if isinstance(child, PackedLayer):
                module._modules[name] = _decoded(child)
    return _decoded(model) if isinstance(model, PackedLayer) else model


def _decoded(layer: Any) -> nn.Module:
    """Return a layer with the levels of a packed one."""
    weight = layer.weight.detach()
    made: nn.Module = changed_class(layer, next(kind for packed, kind in DECODED.items() if isinstance(layer, packed)))
    for name in ("packed", "scale"):
        del made._buffers[name]
    made._parameters["weight"] = nn.Parameter(weight, requires_grad=False)
    return made
