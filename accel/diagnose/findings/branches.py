"""Several layers that read one tensor: branches, the third rule of ShuffleNetV2.

Source: Ma et al., ShuffleNet V2, arXiv 1807.11164, section 2, G3; horizontal fusion is TensorRT's name for joining equal ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from accel.diagnose.findings.finding import Finding, listed
from accel.diagnose.layer_trials.product import product_of, product_seconds
from accel.diagnose.layer_trials.product_trial import ProductTrial
from accel.diagnose.layers.layer_table import LayerTable
from accel.diagnose.layers.operation import Operation, TensorFacts

__all__ = ["branches", "joinable_layers", "layers_of_one_input"]

MANY, LARGE_PART, LEAST_SHARE = 3, 0.5, 0.05
"""Layers that read one tensor, or part of all products in branches, from which on it is no shortcut; and share of the time."""


def layers_of_one_input(table: LayerTable) -> list[list[Operation]]:
    """Return the products with weights that read the same tensor, two or more of different layers each."""
    readers: dict[tuple[int, tuple[int, ...]], dict[str, Operation]] = {}
    written: dict[int, int] = {}
    for place, one in enumerate(table.forward):
        if one.channels is not None:
            given = _input(one)
            key = (given.storage, (written.get(given.storage, -1), *given.shape))
            readers.setdefault(key, {}).setdefault(one.layer or "", one)
        for tensor in one.outputs:
            if tensor.bytes:
                written[tensor.storage] = place
    return [list(layers.values()) for layers in readers.values() if len(layers) > 1]


def _is_joinable(group: list[Operation]) -> bool:
    """Return whether one layer could compute what all compute: equal kernels, which read the same places, without groups."""
    kernels = {one.weight.shape[2:] for one in group if one.weight is not None}
    results = {_places(one) for one in group}
    return len(kernels) == len(results) == len({one.name for one in group}) == 1 and all(one.groups == 1 for one in group)


def _places(one: Operation) -> tuple[int, ...]:
    """Return the sizes of a result without its channels."""
    shape = one.outputs[0].shape
    return (shape[0], *shape[2:]) if one.name == "convolution" else shape[:-1]


def _names(group: list[Operation]) -> str:
    """Return the layers of some operators in words."""
    return listed([one.layer or "" for one in group])


def _input(one: Operation) -> TensorFacts:
    """Return the tensor that a product multiplies by its weights."""
    return one.inputs[0] if one.name == "convolution" else one.inputs[-2]


def joinable_layers(table: LayerTable) -> Iterator[Finding]:
    """Find layers of one kind that read the same tensor, as queries, keys and values do: one wider layer computes the same."""
    groups = [group for group in layers_of_one_input(table) if _is_joinable(group)]
    if not groups:
        return
    layers = [one.layer or "" for group in groups for one in group]
    calls = sum(len(group) - 1 for group in groups)
    yield Finding(
        "joinable_layers",
        "layers of one kind that read the same tensor: one wider layer, whose result is split, computes the same in one product",
        f"{len(groups)} times, such as {_names(groups[0])}; {calls} products fewer",
        tuple(layers),
        change=f"one {table.kinds.get(layers[0], 'layer')} for {_names(groups[0])}, then result.chunk or split",
        gain_note="the input is read once, and a wider product may come closer to the ceiling",
        trials=tuple(trial for group in groups if (trial := _joined(group, table)) is not None),
    )


def _joined(group: list[Operation], table: LayerTable) -> ProductTrial | None:
    """Return the trial of one wide product in place of several; None if they cannot be computed by themselves."""
    products = [product for one in group if (product := product_of(one, table)) is not None]
    if len(products) < len(group):
        return None
    wide = replace(products[0], bias=any(one.bias for one in products))
    after = wide.with_channels(wide.given[1], sum(one.made for one in products))
    return ProductTrial(tuple(products), (after,), sum(product_seconds(one, table) for one in group))


def branches(table: LayerTable) -> Iterator[Finding]:
    """Find tensors that several different layers read: parallel branches are small pieces of work, each with its call (G3)."""
    groups = [group for group in layers_of_one_input(table) if not _is_joinable(group)]
    layers = list(dict.fromkeys(one.layer or "" for group in groups for one in group))
    every = {one.layer for one in table.forward if one.channels is not None}
    widest = max(groups, key=len, default=[])
    if (len(widest) < MANY and len(layers) < LARGE_PART * len(every)) or table.share(table.seconds_of(layers)) < LEAST_SHARE:
        return
    yield Finding(
        "branches",
        "parallel branches: several small layers in place of one (G3 of ShuffleNetV2)",
        f"{len(groups)} tensors are read by {sum(map(len, groups))} different layers, such as {_names(widest)}; "
        f"{table.share(table.seconds_of(layers)):.1%} of the time",
        tuple(layers),
        change="fewer and larger layers; for inference, branches of convolutions that are added can be merged into one (RepVGG)",
        gain_note="not foretold, for it is another model",
    )
