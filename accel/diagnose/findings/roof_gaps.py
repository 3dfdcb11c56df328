"""Layers that take much of the time, and many times what the ceilings of the machine allow."""

from __future__ import annotations

from collections.abc import Iterator

from accel.diagnose.findings.finding import Finding, listed
from accel.diagnose.layers.layer_table import Layer, LayerTable

__all__ = ["far_from_roof"]

LARGE_SHARE, LARGE_GAP = 0.05, 10.0
"""Share of the time, and times the roof, from which on both together count."""


def _slowest(layer: Layer) -> str:
    """Return the name of the operator that takes most of a layer's time."""
    return max(layer.operations, key=lambda one: one.seconds).name


def far_from_roof(table: LayerTable) -> Iterator[Finding]:
    """Find layers whose operators this machine has no fast kernel for: in this order in memory, or at all."""
    gaps = {layer.path: (layer, layer.roof_seconds(table.ceilings)) for layer in table.layers if layer.bytes}
    slow = [
        layer
        for layer, roof in gaps.values()
        if table.share(layer.seconds) >= LARGE_SHARE and roof and layer.seconds >= LARGE_GAP * roof
    ]
    if not slow:
        return
    slow.sort(key=lambda layer: -layer.seconds)
    times = {layer.path: layer.seconds / gaps[layer.path][1] for layer in slow}
    examples = [
        f"{layer.name} ({_slowest(layer)}) {times[layer.path]:.0f} x, {table.share(layer.seconds):.1%} of the time"
        for layer in slow
    ]
    yield Finding(
        "far_from_roof",
        "layers that take many times what the ceilings of this machine allow: it has no fast kernel for them as they are",
        listed(examples),
        tuple(layer.path for layer in slow),
        ceiling=table.share(sum(layer.seconds - gaps[layer.path][1] for layer in slow)),
        change=f"another operator in {listed([layer.name for layer in slow])}, or fewer of them",
        gain_note="if they reached their roof, which few do",
    )
