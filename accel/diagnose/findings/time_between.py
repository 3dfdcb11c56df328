"""Time that no operator takes: Python and torch's own work between them."""

from __future__ import annotations

from collections.abc import Iterator

from accel.diagnose.findings.finding import Finding
from accel.diagnose.layers.layer_table import LayerTable

__all__ = ["time_between_operators"]

LARGE_SHARE = 0.2
MOST_FOR_EACH = 5e-5
"""Seconds between two operators above which it is not Python that takes them, but memory that is given back to the system."""


def time_between_operators(table: LayerTable) -> Iterator[Finding]:
    """Find a pass of which much is spent between operators, and in calling them: it has many small ones."""
    between = max(0.0, table.seconds - table.operator_seconds)
    calls = sum(min(one.seconds, table.ceilings.call) for one in table.operations if one.bytes or one.flops)
    share, count = table.share(between + calls), len(table.operations)
    if share < LARGE_SHARE or table.disturbed or "compile" in table.plugins or between > MOST_FOR_EACH * count:
        return
    remedy = table.setting("cuda_graph") if table.device == "cuda" else table.setting("compile")
    size = "batch_size=..., larger" if table.command else "a larger batch_size"
    yield Finding(
        "time_between",
        "many small operators: much of the time is spent in calling them",
        f"{count} operators, {table.share(between):.1%} of the time between them and {table.share(calls):.1%} in calls; "
        f"{1e6 * table.whole_seconds / max(1, count):.0f} us for each",
        (),
        ceiling=share,
        change=f"{size}; or {remedy}",
        gain_note=f"not foretold: {'python -m accel doctor' if table.command else 'accel.doctor(trainer)'} times other batches",
    )
