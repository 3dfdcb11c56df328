"""Models with layers of integers, as they are shipped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from accel.compress.conv_norm_pairs import conv_norm_pairs
from accel.compress.convolutions import can_be_folded, has_hooks, replace_module
from accel.compress.input_ranks import is_rank_certain
from accel.compress.quantisation.frozen_norms import thaw_norms
from accel.compress.quantisation.integer_layer import IntegerLayer, empty_integer_layer, integer_layer
from accel.compress.quantisation.quantised_layer import make_plain, make_quantised, quantisers_of

__all__ = ["integer_model", "place_integers"]


def integer_model(model: nn.Module) -> tuple[nn.Module, list[str], dict[str, str]]:
    """Return a model with layers of integers where it has some of 8 bits whose range is known, and what was done.

    Args:
        model: the trained model in evaluation mode, which is changed in place. An `nn.Identity` stands where a norm was.

    Returns:
        The model, the names of the layers, and the norms that were folded into them, by the layer's name.
    """
    thaw_norms(model)
    quantisers = quantisers_of(model)
    for name in quantisers:
        make_plain(model.get_submodule(name))
    pairs = conv_norm_pairs(model)
    names, folded = [], dict[str, str]()
    for name, quantiser in quantisers.items():
        if not int(quantiser.known):  # type: ignore[arg-type]
            continue
        layer: Any = model.get_submodule(name)
        make_quantised(layer, quantiser)
        norm: Any = model.get_submodule(pairs[name]) if name in pairs else None
        if norm is not None and not (can_be_folded(norm, len(layer.weight)) and is_rank_certain(norm) and not has_hooks(norm)):
            norm = None
        integer_layer(layer, norm)
        names.append(name)
        if norm is not None:
            model = replace_module(model, pairs[name], nn.Identity())
            folded[name] = pairs[name]
    return model, names, folded


def place_integers(model: nn.Module, layers: Sequence[str], kind: str, norms: Mapping[str, str]) -> nn.Module:
    """Return a model with the modules that `integer_model` leaves, where the user's code has made the layers. Nothing is loaded.

    Raises:
        AttributeError: if the model has no such layer.
        StopIteration: if it is of another class.
    """
    for name in layers:
        layer: Any = model.get_submodule(name)
        if isinstance(layer, IntegerLayer):
            continue
        empty_integer_layer(layer, kind, name in norms)
        if name in norms:
            model.get_submodule(norms[name])
            model = replace_module(model, norms[name], nn.Identity())
    return model
