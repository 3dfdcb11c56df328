"""Which layers of a captured graph get 8 bits, which stay in floats, and why."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from torch import nn

from accel.compress.branched_conv import BranchedConv
from accel.compress.convolutions import obstacle_to_levels, shares_weights
from accel.compress.quantisation.quantised_layer import QUANTISED
from accel.errors import ConfigError, listed

__all__ = ["QuantisedChoice", "choose_quantised"]


class QuantisedChoice(NamedTuple):
    """Layers that get 8 bits."""

    layers: list[str]
    """Their names, in the order of use."""
    left: dict[str, str]
    """Why a layer stays in floats, by its name."""


def choose_quantised(model: nn.Module, calls: Mapping[str, int], kept: Collection[str]) -> QuantisedChoice:
    """Choose the layers of a model that get 8 bits: all convolutions and Linear that can be quantised.

    Args:
        model: the model, of layers as torch has them.
        calls: how often a forward pass calls each layer, by its name, in order.
        kept: names of those that stay in floats.

    Raises:
        ConfigError: if none is left.
    """
    layers, left = [], dict[str, str]()
    branched = tuple(f"{name}." for name, module in model.named_modules() if isinstance(module, BranchedConv))
    for name, count in calls.items():
        reason = "is named in keep" if name in kept else why_in_floats(model, name, count)
        if name.startswith(branched):
            continue  # what is merged before it is shipped
        if reason:
            left[name] = reason
        else:
            layers.append(name)
    if not layers:
        why = listed([f"{name or 'the model itself'} {reason}" for name, reason in left.items()], 3)
        raise ConfigError(f"the model has no layer to quantise: {why or 'it calls no convolution and no Linear'}")
    return QuantisedChoice(layers, left)


def why_in_floats(model: nn.Module, name: str, count: int) -> str:
    """Return why a layer cannot have 8 bits, to follow its name; empty if it can."""
    layer: Any = model.get_submodule(name)
    if why := obstacle_to_levels(layer, QUANTISED, "integers"):
        return why
    if count > 1 or shares_weights(model, layer):
        return "is called more than once, or has weights that other layers have too"
    return ""
