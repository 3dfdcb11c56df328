"""Channels of a layer: which of its tensors have them, in which dimension, and the numbers that count them."""

from __future__ import annotations

from typing import Literal

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.instancenorm import _InstanceNorm

__all__ = ["IN", "OUT", "Side", "channel_dims", "count_channels", "is_depthwise", "is_grouped", "resize"]

Side = Literal["in", "out"]
"""Side of a layer: the channels that it reads, or those that it makes. What is one channel on both sides counts as `out`."""
IN: Side = "in"
OUT: Side = "out"

_NORM_TENSORS = ("weight", "bias", "running_mean", "running_var")


def is_depthwise(layer: nn.Module) -> bool:
    """Return whether each channel of a convolution is made of one channel alone."""
    return isinstance(layer, _ConvNd) and 1 < layer.groups == layer.in_channels == layer.out_channels


def is_grouped(layer: nn.Module) -> bool:
    """Return whether a convolution has several groups of several channels."""
    return isinstance(layer, _ConvNd) and layer.groups > 1 and not is_depthwise(layer)


def channel_dims(layer: nn.Module) -> dict[Side, dict[str, int]]:
    """Return, for each side of a layer, its tensors that have a dimension of channels, and which one that is.

    The channels that a grouped convolution reads are counted within a group, as in its weight. Empty for a layer whose channels
    stay as they are: of another kind, with a parametrised weight, or a transposed convolution in groups.
    """
    sides: dict[Side, dict[str, int]] = {}
    if isinstance(layer, _ConvNd):
        if is_depthwise(layer):
            sides = {OUT: {"weight": 0, "bias": 0}}
        elif not layer.transposed:
            sides = {OUT: {"weight": 0, "bias": 0}, IN: {"weight": 1}}
        elif layer.groups == 1:
            sides = {OUT: {"weight": 1, "bias": 0}, IN: {"weight": 0}}
    elif isinstance(layer, nn.Linear):
        sides = {OUT: {"weight": 0, "bias": 0}, IN: {"weight": 1}}
    elif isinstance(layer, _BatchNorm | _InstanceNorm | nn.GroupNorm):
        sides = {OUT: dict.fromkeys(_NORM_TENSORS, 0)}
    elif isinstance(layer, nn.PReLU) and layer.num_parameters > 1:
        sides = {OUT: {"weight": 0}}
    elif isinstance(layer, nn.Embedding):
        sides = {OUT: {"weight": 1}}
    if hasattr(layer, "parametrizations") or (sides and not isinstance(layer, _NORMS) and "weight" not in layer._parameters):
        return {}
    present = {name for name, value in (*layer._parameters.items(), *layer._buffers.items()) if value is not None}
    return {side: {name: dim for name, dim in dims.items() if name in present} for side, dims in sides.items()}


_NORMS = (_BatchNorm, _InstanceNorm, nn.GroupNorm)


def count_channels(layer: nn.Module, side: Side) -> int:
    """Return the number of channels on a side of a layer that `channel_dims` knows; those that are read, within a group."""
    if isinstance(layer, _ConvNd):
        return layer.out_channels if side == OUT else layer.in_channels // layer.groups
    if isinstance(layer, nn.Linear):
        return layer.out_features if side == OUT else layer.in_features
    if isinstance(layer, nn.GroupNorm):
        return layer.num_channels
    if isinstance(layer, nn.PReLU):
        return layer.num_parameters
    return layer.embedding_dim if isinstance(layer, nn.Embedding) else int(layer.num_features)  # type: ignore[arg-type]


def resize(layer: nn.Module, side: Side, count: int) -> None:
    """Write into a layer how many channels a side has now, where its own numbers say so; of those read, within a group."""
    if isinstance(layer, _ConvNd):
        if is_depthwise(layer):
            layer.in_channels = layer.out_channels = layer.groups = count
        elif side == OUT:
            layer.out_channels = count
        else:
            layer.in_channels = count * layer.groups
    elif isinstance(layer, nn.Linear):
        setattr(layer, "out_features" if side == OUT else "in_features", count)
    elif isinstance(layer, nn.GroupNorm):
        layer.num_groups = layer.num_groups * count // layer.num_channels
        layer.num_channels = count
    elif isinstance(layer, nn.PReLU):
        layer.num_parameters = count
    elif isinstance(layer, nn.Embedding):
        layer.embedding_dim = count
    else:
        layer.num_features = count  # type: ignore[assignment]
