"""Which layers of a model get few bits, which stay in floats, and why."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from torch import nn

from accel.compress.branched_conv import BranchedConv
from accel.compress.conv_norm_pairs import conv_norm_pairs
from accel.compress.convolutions import obstacle_to_levels, shares_weights
from accel.compress.input_ranks import is_rank_certain
from accel.compress.low_bits.layer_order import UsedLayer
from accel.compress.low_bits.low_bit_layer import LOW_BIT
from accel.compress.low_bits.scheme import Scheme
from accel.errors import ConfigError, listed

__all__ = ["LAYERS", "Chosen", "choose_layers"]

LAYERS: tuple[type[nn.Module], ...] = (nn.modules.conv._ConvNd, nn.Linear, BranchedConv)
"""Layers of which some get few bits."""
FIRST, LAST = "is the first", "is the last"


class Chosen(NamedTuple):
    """Layers that get few bits."""

    layers: list[str]
    """Their names, in the order of use."""
    norms: dict[str, str]
    """The BatchNorm that is folded into a layer when it is shipped, by the layer's name."""
    doubtful: dict[str, str]
    """Those of which the rank of their inputs decides whether they can be."""
    left: dict[str, str]
    """Why a layer stays in floats, by its name."""


def choose_layers(
    model: nn.Module, scheme: Scheme, used: Sequence[UsedLayer], named: Collection[str] | None, kept: Collection[str] | None
) -> Chosen:
    """Choose the layers of a model that get few bits.

    Args:
        model: the model, of layers as torch has them.
        scheme: their levels.
        used: its layers, in the order of use.
        named: names of those that get few bits; None for all that can have them.
        kept: names of those that stay in floats; None for the first and the last in the order of use.

    Raises:
        ConfigError: for a named layer that cannot have few bits, one whose input has no signs, and if none is left.
    """
    left = ends_of(used) if kept is None else dict.fromkeys(kept, "is named in keep")
    chosen = []
    for layer in used:
        name = layer.name
        if name in left or (named is not None and name not in named):
            continue
        reason = why_not(model, layer, scheme)
        if reason and (named is not None or reason == no_sign(scheme)):
            way = (
                "write the model with a norm in place of the ReLU, or name it in keep"
                if named is None
                else "leave it out of layers"
            )
            raise ConfigError(f"{name} {reason}; {way}")
        if reason:
            left[name] = reason
        else:
            chosen.append(name)
    if not chosen:
        why = listed([f"{name} {reason}" for name, reason in left.items()], 3) if left else "it has no convolution and no Linear"
        raise ConfigError(f"the model has no layer to quantise: {why}; keep=[] keeps none of them in floats")
    pairs = conv_norm_pairs(model)
    norms, doubtful = dict[str, str](), dict[str, str]()
    for name in chosen:
        if name in pairs:
            (norms if is_rank_certain(model.get_submodule(pairs[name])) else doubtful)[name] = pairs[name]
    return Chosen(chosen, norms, doubtful, left)


def ends_of(used: Sequence[UsedLayer]) -> dict[str, str]:
    """Return the first and the last layer, and what is said of them."""
    return {used[0].name: FIRST, used[-1].name: LAST} if used else {}


def why_not(model: nn.Module, used: UsedLayer, scheme: Scheme) -> str:
    """Return why a layer cannot have few bits, to follow its name; empty if it can."""
    layer: Any = model.get_submodule(used.name)
    if isinstance(layer, BranchedConv):
        return "has branches, which are merged before it is shipped"
    if why := obstacle_to_levels(layer, LOW_BIT, "packed form"):
        return why
    if shares_weights(model, layer):
        return "has weights that other layers have too"
    if scheme.takes_signs and not used.has_sign:
        return no_sign(scheme)
    return ""


def no_sign(scheme: Scheme) -> str:
    """Return what is said of a layer whose input is never below 0."""
    return f"has an input that comes from a ReLU and is never below 0, and {scheme.kind} sees nothing but signs"
