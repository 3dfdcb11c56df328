"""What an export says of its layers of 8 bits: how many there are, how their ranges are known, which stayed in floats."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from accel.errors import listed

__all__ = ["quantisation_line"]


def quantisation_line(quantisation: Mapping[str, Any]) -> str:
    """Return a clause on the layers of an export, from its card; empty without layers of 8 bits."""
    if not quantisation:
        return ""
    layers, floats = quantisation["layers"], quantisation["floats"]
    count = "all layers" if layers is None else f"{len(layers)} of {len(layers) + len(floats)} layers"
    method = {None: "", "trained": ", ranges as qat trained them"}.get(quantisation["calibrate"])
    if method is None:
        method = f", ranges by {quantisation['calibrate']} of {quantisation['samples']:,} training samples"
    kept = f"; in floats, so that it holds: {listed(floats, 4)}" if floats else ""
    return f"{count} in 8 bits{method}{kept}"
