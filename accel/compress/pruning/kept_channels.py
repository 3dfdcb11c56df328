"""Kept channels: plain data that says which channels of each layer are left."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from accel.compress.pruning.layer_channels import Side, channel_dims, count_channels
from accel.errors import ConfigError

__all__ = ["Kept", "as_plain", "composed", "counts_of", "from_plain", "merged", "still_to_cut"]

Kept = dict[str, dict[Side, list[int]]]
"""Channels that are left, by the path of a layer and by side, sorted; of a layer and a side that it does not name, all."""


def counts_of(model: nn.Module) -> dict[str, dict[Side, int]]:
    """Return how many channels each side of each layer has."""
    return {path: {side: count_channels(layer, side) for side in channel_dims(layer)} for path, layer in model.named_modules()}


def composed(before: Kept, kept: Kept) -> Kept:
    """Return what two cuts, one after the other, leave of the model before the first.

    Args:
        before: channels that the first leaves.
        kept: channels that the second leaves, counted as they are after the first.
    """
    result = {path: dict(sides) for path, sides in before.items()}
    for path, sides in kept.items():
        for side, channels in sides.items():
            earlier = before.get(path, {}).get(side)
            result.setdefault(path, {})[side] = channels if earlier is None else [earlier[channel] for channel in channels]
    return result


def as_plain(kept: Kept, counts: Mapping[str, Mapping[Side, int]]) -> dict[str, Any]:
    """Return kept channels for JSON. Each list of them stands once.

    Args:
        kept: the channels.
        counts: how many there were, by path and side.
    """
    lists: dict[tuple[int, ...], int] = {}
    layers = {
        path: {side: [lists.setdefault(tuple(channels), len(lists)), counts[path][side]] for side, channels in sides.items()}
        for path, sides in kept.items()
    }
    return {"channels": [list(channels) for channels in lists], "layers": layers}


def from_plain(plain: Mapping[str, Any]) -> tuple[Kept, dict[str, dict[Side, int]]]:
    """Return the kept channels that `as_plain` wrote, and how many there were.

    Raises:
        ConfigError: for anything else.
    """
    try:
        kept: Kept = {}
        counts: dict[str, dict[Side, int]] = {}
        for path, sides in plain["layers"].items():
            for side, (place, count) in sides.items():
                channels = [int(channel) for channel in plain["channels"][place]]
                if not channels or channels != sorted(set(channels)) or not 0 <= channels[0] <= channels[-1] < int(count):
                    raise ValueError(path)
                kept.setdefault(path, {})[side], counts.setdefault(path, {})[side] = channels, int(count)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError):
        raise ConfigError("prune: the structure of the saved model is none that it has written") from None
    return kept, counts


def merged(
    model: nn.Module, kept: Kept, counts: Mapping[str, Mapping[Side, int]]
) -> tuple[Kept, dict[str, dict[Side, int]]]:  # fmt: skip
    """Return kept channels, and their counts, in the names of a model in which single layers stand for several that were cut.

    Branches of one layer are cut alike: what is left of each is left of the layer that they are merged into.

    Args:
        model: the model in which they are merged.
        kept: the channels, by the names of the model before.
        counts: how many there were.
    """
    modules = dict(model.named_modules())
    result: Kept = {}
    totals: dict[str, dict[Side, int]] = {}
    for path, sides in kept.items():
        place = path
        while place not in modules:
            place = place.rpartition(".")[0]
        for side, channels in sides.items():
            if place == path or side in channel_dims(modules[place]):
                result.setdefault(place, {})[side] = channels
                totals.setdefault(place, {})[side] = counts[path][side]
    return result, totals


def still_to_cut(model: nn.Module, kept: Kept, counts: Mapping[str, Mapping[Side, int]]) -> bool:
    """Return whether a model has all its channels yet; False if it has the kept ones alone.

    Raises:
        ConfigError: for a layer that has other channels, or that there is not.
    """
    states = set()
    for path, sides in kept.items():
        for side, channels in sides.items():
            try:
                layer = model.get_submodule(path)
                now = count_channels(layer, side) if side in channel_dims(layer) else None
            except (AttributeError, TypeError):
                now = None
            if now not in (counts[path][side], len(channels)):
                shown = "no such layer" if now is None else f"{now} channels"
                raise ConfigError(
                    f"prune has cut {path} from {counts[path][side]} channels to {len(channels)} ({side}), and this model has "
                    f"{shown} there: it is another one"
                )
            states.add(now == counts[path][side])
    if states == {True, False}:
        raise ConfigError("prune: some layers of this model have been cut, and others have not: it is another one")
    return states == {True}
