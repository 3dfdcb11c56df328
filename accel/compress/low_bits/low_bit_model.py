"""Models with layers of few bits: as they train, and with packed weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from accel.compress.convolutions import can_be_folded, has_hooks, replace_module
from accel.compress.low_bits.low_bit_layer import LOW_BIT, LowBitWeights, low_bit_layer, plain_layer
from accel.compress.low_bits.packed_codes import count_bytes
from accel.compress.low_bits.packed_layer import PackedLayer, empty_packed_layer, packed_layer
from accel.compress.low_bits.scheme import Scheme

__all__ = ["pack_model", "place_low_bit", "place_packed", "shipped_bytes", "without_low_bit"]


def place_low_bit(model: nn.Module, layers: Sequence[str], scheme: Scheme) -> nn.Module:
    """Return a model whose layers of these names have few bits, changed in place. Those that have some already stay.

    Raises:
        AttributeError: if the model has no such layer.
        KeyError: if it is of another class.
    """
    for name in layers:
        layer = model.get_submodule(name)
        if not isinstance(layer, LowBitWeights):
            model = replace_module(model, name, low_bit_layer(layer, scheme))
    return model


def without_low_bit(model: nn.Module) -> nn.Module:
    """Return a model with the layers of torch in the place of those of few bits with float weights, changed in place."""
    for name, layer in list(model.named_modules()):
        if isinstance(layer, LowBitWeights):
            model = replace_module(model, name, plain_layer(layer))
    return model


def pack_model(
    model: nn.Module, layers: Sequence[str], scheme: Scheme, norms: Mapping[str, str]
) -> tuple[nn.Module, dict[str, str]]:
    """Return a model whose layers of few bits have packed weights, changed in place, and the norms that were folded into them.

    Args:
        model: the trained model.
        layers: names of its layers of few bits.
        scheme: their levels.
        norms: the BatchNorm after a layer, by the layer's name. An `nn.Identity` takes its place.
    """
    folded: dict[str, str] = {}
    for name in layers:
        layer: Any = model.get_submodule(name)
        norm: Any = model.get_submodule(norms[name]) if name in norms else None
        if norm is not None and (not can_be_folded(norm, len(layer.weight)) or has_hooks(norm)):
            norm = None
        model = replace_module(model, name, packed_layer(layer, scheme, norm))
        if norm is not None:
            model = replace_module(model, norms[name], nn.Identity())
            folded[name] = norms[name]
    return model, folded


def place_packed(model: nn.Module, layers: Sequence[str], scheme: Scheme, norms: Mapping[str, str]) -> nn.Module:
    """Return a model with the modules that `pack_model` leaves, where the user's code has made the layers. Weights are not set.

    Raises:
        AttributeError: if the model has no such layer.
        KeyError: if it is of another class.
    """
    for name in layers:
        layer = model.get_submodule(name)
        if isinstance(layer, PackedLayer):
            continue
        if type(layer) not in LOW_BIT and not isinstance(layer, LowBitWeights):
            raise KeyError(name)
        model = replace_module(model, name, empty_packed_layer(layer, scheme, name in norms))
        if name in norms:
            model.get_submodule(norms[name])
            model = replace_module(model, norms[name], nn.Identity())
    return model


def shipped_bytes(model: nn.Module, layers: Sequence[str], scheme: Scheme) -> tuple[int, int]:
    """Return the bytes of the weights of these layers as they are shipped, scales included, and as floats."""
    few = floats = 0
    for name in layers:
        weight: Any = model.get_submodule(name).weight
        few += count_bytes(weight.numel(), scheme.code_bits) + len(weight) * max(4, weight.element_size())
        floats += weight.numel() * weight.element_size()
    return few, floats
