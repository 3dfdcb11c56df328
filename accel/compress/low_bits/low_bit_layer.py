"""Convolutions and Linear that compute with few levels, and train the float weights behind them."""

from __future__ import annotations

from typing import Any, cast

from torch import Tensor, nn

from accel.compress.convolutions import layer_output
from accel.compress.low_bits.scheme import Scheme

__all__ = ["LOW_BIT", "LowBitLayer", "LowBitWeights", "changed_class", "low_bit_layer", "plain_layer"]


class LowBitLayer:
    """What layers of few bits do, beside the class of torch whose place they take: parameters keep their names."""

    scheme: Scheme

    def level_weight(self, x: Tensor) -> Tensor:
        """Return the weights to compute with, (C_out, ...), for an input."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Return the output of the layer, of an input as torch's own layer takes it."""
        layer: Any = self
        scale = self.scheme.input_scale(layer, x)
        inputs, weight = self.scheme.input(x), self.level_weight(x)
        bias = layer.bias
        y = layer_output(layer, inputs, weight, bias if scale is None else None)
        if scale is not None:
            y = y * scale
            if bias is not None:
                y = y + (bias if isinstance(layer, nn.Linear) else bias.view(-1, *[1] * len(layer.kernel_size))).to(y.dtype)
        return self.scheme.output(y)


class LowBitWeights(LowBitLayer):
    """Layers whose weights are floats, of which each forward pass takes the levels."""

    def level_weight(self, x: Tensor) -> Tensor:
        layer: Any = self
        return self.scheme.weight(layer.weight)


class LowBitConv1d(LowBitWeights, nn.Conv1d):
    """`nn.Conv1d` of few bits."""


class LowBitConv2d(LowBitWeights, nn.Conv2d):
    """`nn.Conv2d` of few bits."""


class LowBitConv3d(LowBitWeights, nn.Conv3d):
    """`nn.Conv3d` of few bits."""


class LowBitLinear(LowBitWeights, nn.Linear):
    """`nn.Linear` of few bits."""


LOW_BIT: dict[type[nn.Module], type[nn.Module]] = {
    nn.Conv1d: LowBitConv1d, nn.Conv2d: LowBitConv2d, nn.Conv3d: LowBitConv3d, nn.Linear: LowBitLinear,
}  # fmt: skip
"""The layer of few bits, by the class of torch whose place it takes. A subclass may compute something else, and stays."""


def low_bit_layer(layer: nn.Module, scheme: Scheme) -> nn.Module:
    """Return a layer of few bits with the parameters of another, which are the same objects.

    Args:
        layer: a layer of one of the classes in `LOW_BIT`.
        scheme: its levels.
    """
    made = changed_class(layer, LOW_BIT[type(layer)])
    made.scheme = scheme
    return cast(nn.Module, made)


def plain_layer(layer: Any) -> nn.Module:
    """Return the layer of torch whose place a layer of `low_bit_layer` took, with the same parameters."""
    plain = next(own for own, few in LOW_BIT.items() if isinstance(layer, few))
    made = changed_class(layer, plain)
    del made.scheme
    return cast(nn.Module, made)


def changed_class(layer: nn.Module, kind: type[nn.Module]) -> Any:
    """Return a module of another class that has all that a layer has."""
    made = kind.__new__(kind)
    for name, value in vars(layer).items():
        made.__dict__[name] = value.copy() if isinstance(value, dict | set) else value
    return made
