"""Settings of an export."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

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
    fusion: bool | None = None
    """Whether a compiler merges operators, where a target can be told; None for what it does by itself."""
    proof: ProofSettings = field(default_factory=ProofSettings)

    @property
    def of_targets(self) -> dict[str, Any]:
        """Settings of targets, by name; a target takes those that it has."""
        place = {"python": self.proof.python, "time_limit": self.proof.time_limit}
        return {"opset": self.opset, "fusion": self.fusion, **place}
