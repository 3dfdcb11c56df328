"""Operators that move memory and compute next to nothing: the fourth rule of ShuffleNetV2, and what compiling fuses.

Source: Ma et al., ShuffleNet V2, arXiv 1807.11164, section 2, G4.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from accel.diagnose.ceilings.roof import roof_seconds
from accel.diagnose.findings.finding import Finding, listed
from accel.diagnose.layers.layer_table import LayerTable
from accel.diagnose.layers.operation import Operation

__all__ = ["chains", "depthwise_share", "element_wise_share", "fusible_layers", "is_fusible"]

LARGE_SHARE = 0.25
"""Share of the time from which on element-wise operators count."""
LEAST_GAIN = 0.02
BACKWARD = frozenset({f"native_{name}_norm_backward" for name in ("layer", "group", "batch")} | {"threshold_backward"})


def is_fusible(one: Operation) -> bool:
    """Return whether a compiler computes an operator together with its neighbours: it is element-wise, or normalises."""
    return bool(one.bytes) and (one.pointwise or one.is_normalisation or one.name in BACKWARD)


def element_wise_share(table: LayerTable) -> Iterator[Finding]:
    """Find a model of which element-wise operators, whose FLOPs are next to none, take much of the time (G4)."""
    operations = [one for one in table.operations if one.pointwise and one.bytes]
    share = table.share(sum(one.seconds for one in operations))
    if share < LARGE_SHARE:
        return
    spent: dict[str, float] = {}
    for one in operations:
        spent[one.base] = spent.get(one.base, 0.0) + one.seconds
    names = sorted(spent, key=lambda name: -spent[name])
    layers = {one.layer: 0.0 for one in operations if one.layer is not None}
    for one in operations:
        if one.layer is not None:
            layers[one.layer] += one.seconds
    yield Finding(
        "element_wise",
        "element-wise operators take much of the time, though they compute next to nothing (G4 of ShuffleNetV2)",
        f"{share:.1%} of the time: {listed([f'{name} {table.share(spent[name]):.1%}' for name in names])}",
        tuple(sorted(layers, key=lambda path: -layers[path])),
        ceiling=share,
        change="fewer activations, additions and copies between layers; those that stay are fused by compile",
        gain_note="if none were left",
    )


def chains(operations: Sequence[Operation]) -> list[list[Operation]]:
    """Return runs of two or more operators that a compiler can make one kernel of: each reads what the one before gives.

    Operators that move nothing, such as views, break no run.
    """
    runs: list[list[Operation]] = []
    current: list[Operation] = []
    for one in operations:
        if not one.bytes:
            continue
        follows = current and {tensor.storage for tensor in one.inputs} & {tensor.storage for tensor in current[-1].outputs}
        if is_fusible(one) and (not current or (follows and one.backward == current[-1].backward)):
            current.append(one)
            continue
        runs.append(current)
        current = [one] if is_fusible(one) else []
    return [run for run in (*runs, current) if len(run) > 1]


def fusible_layers(table: LayerTable) -> Iterator[Finding]:
    """Find runs of element-wise operators and normalisations, of each of which compile makes one kernel."""
    runs = chains([one for one in table.operations if one.layer is not None])
    saved, between = 0.0, 0
    for run in runs:
        inner = sum(one.outputs[0].bytes for one in run[:-1] if one.outputs)
        twice = 2 * inner  # written by one, and read by the next
        whole = sum(one.bytes for one in run)
        calls = (len(run) - 1) * table.ceilings.call
        seconds = sum(one.seconds for one in run)
        least = sum(roof_seconds(one, table.ceilings) for one in run)
        saved += min(seconds, max(calls, seconds * min(1.0, twice / whole) if whole and least else 0.0))
        between += twice
    gain = table.share(saved)
    if gain < LEAST_GAIN or "compile" in table.plugins:
        return
    layers = dict.fromkeys(one.layer for run in sorted(runs, key=lambda run: -sum(one.seconds for one in run)) for one in run)
    longest = max(runs, key=len)
    yield Finding(
        "fusible_layers",
        "operators one after the other that compile makes one kernel of: what is between need not go through memory",
        f"{len(runs)} runs of {sum(map(len, runs))} operators, such as {', '.join(one.base for one in longest[:4])} in "
        f"{longest[0].layer or '(model)'}; {between / 1e6:.1f} MB between them",
        tuple(path for path in layers if path is not None),
        ceiling=gain,
        change=table.setting("compile"),
        gain_note=f"what compiling brings depends on the kernels that it writes: {table.measure('compile')} measures it",
    )


def depthwise_share(table: LayerTable) -> Iterator[Finding]:
    """Find a model whose depthwise convolutions take far more of the time than of the work."""
    layers = {one.layer or "": one for one in table.forward if one.is_depthwise}
    seconds = table.seconds_of(layers)
    share, work = table.share(seconds), sum(layer.flops for layer in table.layers if layer.path in layers)
    flops = work / (sum(layer.flops for layer in table.layers) or 1)
    if not layers or share < max(0.1, 2 * flops):
        return
    moved = sum(layer.bytes for layer in table.layers if layer.path in layers)
    ordered = sorted(layers, key=lambda path: -table.seconds_of([path]))
    yield Finding(
        "depthwise",
        "depthwise convolutions take far more of the time than of the work: each byte that they move is used a few times only",
        f"{len(layers)} layers, {share:.1%} of the time for {flops:.1%} of the FLOPs, {work / (moved or 1):.1f} FLOP/B; "
        f"{listed(ordered)}",
        tuple(ordered),
        change=f"{ordered[0] or '(model)'}: full convolutions of fewer channels where the picture is large "
        "(fused MBConv, EfficientNetV2)",
        gain_note="not foretold, for it is another model",
    )
