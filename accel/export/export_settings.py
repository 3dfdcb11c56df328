"""Settings of an export."""

from __future__ import annotations

from dataclasses import dataclass, field

from accel.export.dynamic_sizes import Dynamic
from accel.export.proof.prove import ProofSettings
from accel.values import Count

__all__ = ["ExportSettings"]


@dataclass(frozen=True)
class ExportSettings:
    """How a model is exported, and how the export is proven."""

    dynamic: Dynamic = "batch"
    """Which sizes may change from call to call."""
    preprocess: bool = False
    """Whether the graph takes 8-bit pictures and normalises them."""
    opset: Count | None = None
    """Version of the operators of ONNX; None for that of the target."""
    proof: ProofSettings = field(default_factory=ProofSettings)
