"""Copies from one order in memory to another, and back."""

from __future__ import annotations

from collections.abc import Iterator

from accel.diagnose.findings.finding import Finding, listed
from accel.diagnose.layers.layer_table import LayerTable
from accel.diagnose.layers.operation import Operation

__all__ = ["layout_change", "layout_changes", "memory_order"]

COPIES = frozenset({"clone", "contiguous", "copy_", "_to_copy", "_reshape_copy"})
HEADS = frozenset({"bmm", "baddbmm"})
"""Products of several matrices, which attention multiplies its heads by."""
LEAST_SHARE = 0.01
LEAST_SAVING = 0.03
"""Share of a pass that another order has to save, beyond what two measurements of the same differ by."""


def layout_change(one: Operation) -> tuple[str, str] | None:
    """Return the order in memory that a copy reads and the one that it writes; None if it is none, or both are the same."""
    if one.name not in COPIES or not one.bytes or not one.outputs:
        return None
    source, target = one.inputs[-1], one.outputs[0]
    if len(source.shape) < 2 or source.layout == target.layout or source.device != target.device:
        return None
    return source.layout, target.layout


def layout_changes(table: LayerTable) -> Iterator[Finding]:
    """Find copies that only change the order in memory, there and back. Those that attention makes of its heads are left alone."""
    of_heads = {one.layer for one in table.operations if one.name in HEADS or one.name.startswith("_scaled_dot_product")}
    inside = [one for one in table.operations if one.layer is not None and one.layer not in of_heads]
    changes = [(one, change) for one in inside if (change := layout_change(one)) is not None]
    directions = {change for _, change in changes}
    back = any((target, source) in directions for source, target in directions) or any("strided" in change for change in directions)
    seconds = sum(one.seconds for one, _ in changes)
    share = table.share(seconds)
    if len(changes) < 2 or not back or share < LEAST_SHARE:
        return
    lines = list(dict.fromkeys(one.line for one, _ in changes if one.line))
    moved = sum(one.bytes for one, _ in changes)
    yield Finding(
        "layout_changes",
        "copies that only change the order in memory, back and forth",
        f"{len(changes)} copies of {moved / 1e6:.1f} MB, {share:.1%} of the time: "
        f"{listed(lines or [one.layer or '' for one, _ in changes], 2)}",
        tuple(dict.fromkeys(one.layer or "" for one, _ in changes)),
        ceiling=share,
        change="keep one order from layer to layer: no permute, transpose or contiguous between",
        gain_note="if the operators between are as fast in that order",
    )


def memory_order(table: LayerTable) -> Iterator[Finding]:
    """Find convolutions that this machine computes faster with the channels of a pixel side by side: a pass was tried so."""
    saving = table.order_saving
    if saving is None or saving < LEAST_SAVING:
        return
    layers = {one.layer or "" for one in table.forward if one.name == "convolution"}
    share = table.share(table.seconds_of(layers))
    yield Finding(
        "memory_order",
        "convolutions that are faster here with the channels of a pixel side by side",
        f"{len(layers)} layers, {share:.1%} of the time; a pass with their weights in channels_last is "
        f"{1 / (1 - saving):.2f} times as fast",
        tuple(sorted(layers, key=lambda path: -table.seconds_of([path]))),
        saving,
        change=table.setting("channels_last"),
        gain_note="tried with this model and batch",
    )
