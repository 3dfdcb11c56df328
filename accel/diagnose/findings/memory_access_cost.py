"""Memory access cost of 1x1 convolutions over its lower bound, and of groups: the first two rules of ShuffleNetV2.

Source: Ma et al., ShuffleNet V2: Practical Guidelines for Efficient CNN Architecture Design, arXiv 1807.11164, section 2.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod, sqrt

from accel.diagnose.findings.finding import Finding, listed
from accel.diagnose.layer_trials.product import product_of, product_seconds
from accel.diagnose.layer_trials.product_trial import ProductTrial
from accel.diagnose.layers.layer_table import LayerTable
from accel.diagnose.layers.operation import Operation

__all__ = ["UNBALANCED", "access_cost", "access_ratio", "group_costs", "group_ratio", "unequal_channels"]

UNBALANCED = 1.2
"""Cost over its lower bound from which on it counts."""
LEAST_SHARE = 0.01


def access_cost(places: int, taken: int, made: int, groups: int = 1) -> float:
    """Return the elements that a 1x1 convolution moves: its input, its output and its weights.

    Args:
        places: height times width of the result, and times the samples of the batch.
        taken: channels of the input.
        made: channels of the result.
        groups: of channels.
    """
    return places * (taken + made) + taken * made / groups


def access_ratio(places: int, taken: int, made: int) -> float:
    """Return the memory access cost over its lower bound, for as many multiplications: 1 for equal channels.

    The bound is 2 sqrt(hw B) + B / hw, with B = hw c1 c2 multiplications.

    >>> access_ratio(56 * 56, 64, 64), round(access_ratio(56 * 56, 24, 144), 2)
    (1.0, 1.42)
    """
    work = places * taken * made
    return access_cost(places, taken, made) / (2 * sqrt(places * work) + work / places)


def group_ratio(places: int, taken: int, made: int, groups: int) -> float:
    """Return the memory access cost of a grouped 1x1 convolution over that of one without groups and as many multiplications.

    Without groups so many multiplications allow fewer channels out of the same input: c2 / g.

    >>> group_ratio(28 * 28, 240, 240, 1), round(group_ratio(28 * 28, 240, 240, 4), 2)
    (1.0, 1.57)
    """
    return access_cost(places, taken, made, groups) / access_cost(places, taken, made // groups or 1)


def _places(one: Operation) -> int:
    """Return height times width of the result; the bound is of one sample, as in the paper."""
    return prod(one.outputs[0].shape[2:])


def unequal_channels(table: LayerTable) -> Iterator[Finding]:
    """Find 1x1 convolutions whose channels in and out differ so much that they move far more than equal ones would (G1)."""
    ratios: dict[str, tuple[float, Operation]] = {}
    for one in table.forward:
        if one.is_one_by_one and one.groups == 1 and one.channels is not None:
            ratio = access_ratio(_places(one), *one.channels)
            if ratio >= UNBALANCED and table.share(table.seconds_of([one.layer or ""])) >= LEAST_SHARE:
                ratios[one.layer or ""] = (ratio, one)
    if not ratios:
        return
    layers = sorted(ratios, key=lambda path: -table.seconds_of([path]))
    examples = [f"{path} {ratios[path][1].channels[0]} to {ratios[path][1].channels[1]} ({ratios[path][0]:.2f})" for path in layers]  # type: ignore[index]
    yield Finding(
        "unequal_channels",
        "1x1 convolutions with unequal channels move more memory than equal ones for the same work (G1 of ShuffleNetV2)",
        f"memory access cost over its lower bound: {listed(examples)}",
        tuple(layers),
        change="take channels in and out that are closer to each other, of the same product",
        gain_note="if all of them had equal channels",
        trials=tuple(trial for path in layers if (trial := _equal_channels(ratios[path][1], table)) is not None),
    )


def _equal_channels(one: Operation, table: LayerTable) -> ProductTrial | None:
    """Return the trial of a 1x1 convolution with as many channels in as out, in eights, and about as many multiplications."""
    product, channels = product_of(one, table), one.channels
    if product is None or channels is None:
        return None
    equal = _in_eights(sqrt(channels[0] * channels[1]))
    return ProductTrial((product,), (product.with_channels(equal, equal),), product_seconds(one, table), is_same_work=True)


def _in_eights(count: float) -> int:
    """Return the next multiple of eight."""
    return max(8, 8 * round(count / 8))


def group_costs(table: LayerTable) -> Iterator[Finding]:
    """Find convolutions in groups, which move more memory than others for the same work (G2). Depthwise ones are left out."""
    in_groups = [one for one in table.forward if one.groups > 1 and not one.is_depthwise and one.channels is not None]
    grouped = {one.layer or "": one for one in in_groups}
    layers = sorted(grouped, key=lambda path: -table.seconds_of([path]))
    share = table.share(table.seconds_of(layers))
    if share < LEAST_SHARE:
        return
    examples = []
    for path in layers:
        one = grouped[path]
        assert one.channels is not None
        examples.append(f"{path} in {one.groups} groups ({group_ratio(_places(one), *one.channels, one.groups):.2f})")
    flops = sum(one.flops for one in grouped.values()) / (sum(one.flops for one in table.forward) or 1)
    slowest = grouped[layers[0]]
    yield Finding(
        "group_convolutions",
        "convolutions in groups move more memory than others for the same work (G2 of ShuffleNetV2)",
        f"memory access cost over that without groups: {listed(examples)}; {share:.1%} of the time for {flops:.1%} of the FLOPs",
        tuple(layers),
        change=f"groups={slowest.groups} in {layers[0] or '(model)'}: fewer groups, and fewer channels",
        gain_note="if each had one group, and as many fewer channels as give the same work",
        trials=tuple(trial for path in layers if (trial := _one_group(grouped[path], table)) is not None),
    )


def _one_group(one: Operation, table: LayerTable) -> ProductTrial | None:
    """Return the trial of a convolution without groups, with fewer channels, in eights, and about as many multiplications."""
    product, channels = product_of(one, table), one.channels
    if product is None or channels is None:
        return None
    taken, made = (_in_eights(count / sqrt(one.groups)) for count in channels)
    after = product.with_channels(taken, made, groups=1)
    return ProductTrial((product,), (after,), product_seconds(one, table), is_same_work=True)
