"""Units, which are channels that can only go together, and groups of units that run through the same layers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from torch import nn
from torch.nn.modules.conv import _ConvNd

from accel.compress.pruning.kept_channels import Kept
from accel.compress.pruning.layer_channels import IN, OUT, Side, channel_dims, count_channels, is_depthwise

__all__ = ["ChannelGroup", "Place", "Ties", "Unit", "after_cut", "groups_of", "kept_by_units", "units_left"]

Place = tuple[str, Side, int]
"""A channel: the path of its layer, the side, and its number there."""
Unit = dict[tuple[str, Side], list[int]]
"""Channels that go together, by path and side of a layer."""


@dataclass(frozen=True)
class ChannelGroup:
    """Units of channels that run through the same layers, such as the outputs of a convolution and what reads them."""

    name: str
    """Path of the first layer that makes them."""
    units: tuple[Unit, ...]
    """Its units, in the order of the channels of the first layer."""
    whole: str = ""
    """Why none of it may go, as a clause; empty if units may."""
    least: int = 1
    """Units that must stay: 2 where a depthwise convolution would become one of a single channel."""

    @property
    def members(self) -> list[tuple[str, Side]]:
        """The sides of layers that it runs through."""
        return list(self.units[0])

    @property
    def channels_per_unit(self) -> int:
        """Channels of the first layer that go with one unit: more than 1 where it is a convolution in groups."""
        return len(next(channels for (path, side), channels in self.units[0].items() if (path, side) == (self.name, OUT)))

    @property
    def channels(self) -> int:
        """Channels of the first layer."""
        return len(self.units) * self.channels_per_unit


class Ties:
    """Channels that are tied to one another, collected pair by pair (union-find)."""

    def __init__(self) -> None:
        self.parent: dict[Place, Place] = {}
        self.reasons: dict[Place, str] = {}
        """Why the channels that are tied to a place must stay."""

    def root(self, place: Place) -> Place:
        """Return the place that stands for all that are tied to a place."""
        parent = self.parent.setdefault(place, place)
        while parent != self.parent[parent]:
            self.parent[place] = parent = self.parent[parent]
        return parent

    def tie(self, first: Place, second: Place) -> None:
        """Let two channels go together only."""
        self.parent[self.root(second)] = self.root(first)

    def keep_whole(self, place: Place, reason: str) -> None:
        """Let a channel, and all that is tied to it, stay."""
        self.root(place)
        self.reasons.setdefault(place, reason)

    def units(self) -> Iterator[tuple[list[Place], str]]:
        """Yield the places that go together, with the reason why they stay, which may be empty."""
        members: dict[Place, list[Place]] = {}
        for place in self.parent:
            members.setdefault(self.root(place), []).append(place)
        reasons = {self.root(place): reason for place, reason in reversed(self.reasons.items())}
        for root, places in members.items():
            yield places, reasons.get(root, "")


def groups_of(model: nn.Module, ties: Ties) -> list[ChannelGroup]:
    """Return the groups of a model, in the order of its layers: the same however the ties were found."""
    layers = dict(model.named_modules())
    order = {path: place for place, path in enumerate(layers)}
    shared = _layers_with_shared_tensors(model)
    groups: dict[tuple[tuple[str, Side], ...], list[tuple[Unit, str]]] = {}
    for places, reason in ties.units():
        unit: Unit = {}
        for path, side, channel in sorted(places, key=lambda place: (order[place[0]], place[1] == IN, place[2])):
            unit.setdefault((path, side), []).append(channel)
        if not any(_makes(layers[path], side) for path, side in unit):
            continue  # channels of the input
        if not reason and (tied := [path for path, _ in unit if path in shared]):
            reason = f"{tied[0]} shares a tensor with another layer"
        if not reason and not any(side == IN for _, side in unit):
            reason = "no layer reads it"
        groups.setdefault(tuple(unit), []).append((unit, reason))
    result = []
    for members, units in groups.items():
        name = next(path for path, side in members if _makes(layers[path], side))
        ordered = sorted(units, key=lambda pair: next(iter(pair[0].values()))[0])
        whole = next((reason for _, reason in ordered if reason), "")
        least = 1 + any(is_depthwise(layers[path]) for path, _ in members)
        result.append(ChannelGroup(name, tuple(unit for unit, _ in ordered), whole, least))
    return sorted(result, key=lambda group: (order[group.name], next(iter(group.units[0].values()))[0]))


def _makes(layer: nn.Module, side: Side) -> bool:
    """Return whether a layer makes channels of its own, and does not only change each that it reads."""
    return side == OUT and isinstance(layer, _ConvNd | nn.Linear | nn.Embedding) and not is_depthwise(layer)


def _layers_with_shared_tensors(model: nn.Module) -> set[str]:
    """Return the paths of layers with a parameter that another layer has too."""
    owners: dict[int, set[str]] = {}
    for path, module in model.named_modules():
        for param in module._parameters.values():
            if param is not None:
                owners.setdefault(id(param), set()).add(path)
    return {path for paths in owners.values() if len(paths) > 1 for path in paths}


def kept_by_units(model: nn.Module, groups: list[ChannelGroup], kept: list[list[int]]) -> Kept:
    """Return the channels that stay of each layer of which some go.

    Args:
        model: the model that has the groups.
        groups: all of its groups.
        kept: numbers of the units that stay, of each group.
    """
    gone: dict[tuple[str, Side], set[int]] = {}
    for group, units in zip(groups, kept, strict=True):
        for number in set(range(len(group.units))).difference(units):
            for member, channels in group.units[number].items():
                gone.setdefault(member, set()).update(channels)
    result: Kept = {}
    for path, layer in model.named_modules():
        for side in channel_dims(layer):
            if away := gone.get((path, side)):
                count = count_channels(layer, side)
                result.setdefault(path, {})[side] = [channel for channel in range(count) if channel not in away]
    return result


def units_left(groups: list[ChannelGroup], kept: Kept) -> list[list[int]]:
    """Return the numbers of the units of each group of which the channels `kept` are left."""
    left = {(path, side): set(channels) for path, sides in kept.items() for side, channels in sides.items()}
    return [
        [number for number, unit in enumerate(group.units) if all(_is_left(unit, member, left) for member in unit)]
        for group in groups
    ]


def _is_left(unit: Unit, member: tuple[str, Side], left: dict[tuple[str, Side], set[int]]) -> bool:
    return member not in left or left[member].issuperset(unit[member])


def after_cut(groups: list[ChannelGroup], kept: Kept, units: list[list[int]]) -> list[ChannelGroup]:
    """Return the groups of a model after a cut.

    Args:
        groups: the groups before it.
        kept: the channels that it has left.
        units: numbers of the units that it has left, of each group.
    """
    places = {(path, side): {old: new for new, old in enumerate(kept[path][side])} for path in kept for side in kept[path]}
    return [
        replace(group, units=tuple(_moved(group.units[number], places) for number in numbers))
        for group, numbers in zip(groups, units, strict=True)
    ]


def _moved(unit: Unit, places: dict[tuple[str, Side], dict[int, int]]) -> Unit:
    return {
        member: [places[member][channel] for channel in channels] if member in places else channels
        for member, channels in unit.items()
    }
