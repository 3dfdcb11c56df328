"""Parameters that nobody uses, or that get no gradient."""

from __future__ import annotations

from collections.abc import Iterator

from accel.diagnose.findings.finding import Finding, listed
from accel.diagnose.layers.layer_table import LayerTable

__all__ = ["unused_parameters", "without_gradient"]


def _used(table: LayerTable) -> set[str]:
    """Return the names of the parameters that an operator of the forward pass takes."""
    return {tensor.parameter for one in table.operations if not one.backward for tensor in one.inputs if tensor.parameter}


def unused_parameters(table: LayerTable) -> Iterator[Finding]:
    """Find parameters that no operator of the forward pass takes: they cost memory, and time in every update and checkpoint."""
    used = _used(table)
    unused = [param for param in table.parameters if param.name not in used and param.numel and not param.has_gradient]
    if unused:
        first = unused[0].name.rpartition(".")[0] or unused[0].name
        yield Finding(
            "unused_parameters",
            "parameters that the forward pass does not use",
            f"{len(unused)} of {sum(param.numel for param in unused):,} elements: {listed([param.name for param in unused])}",
            tuple(dict.fromkeys(param.name.rpartition(".")[0] for param in unused)),
            change=f"delete what __init__ makes and forward does not use, unless other batches use it: {first}",
            gain_note=f"no time in a pass; {sum(param.bytes for param in unused) / 1e6:.2f} MB of memory and of every checkpoint",
        )


def without_gradient(table: LayerTable) -> Iterator[Finding]:
    """Find parameters that are trained and used, and get no gradient: what they do does not reach the loss."""
    used = _used(table)
    idle = [param for param in table.parameters if param.trained and param.has_gradient is False and param.name in used]
    if idle:
        names = [param.name for param in idle]
        freeze = f"'freeze=[{names[0]}]'" if table.command else f"freeze=[{names[0]!r}]"
        yield Finding(
            "without_gradient",
            "parameters that are trained and used, and get no gradient",
            f"{len(idle)} of {sum(param.numel for param in idle):,} elements: {listed(names)}",
            tuple(dict.fromkeys(name.rpartition(".")[0] for name in names)),
            change=f"look for detach, no_grad or integers behind them; if it is meant so, {freeze}",
            gain_note="no time in a pass; what they compute is for nothing, or they are to be trained and are not",
        )
