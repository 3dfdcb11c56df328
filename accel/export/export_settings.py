"""Settings of an export."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from accel.export.dynamic_sizes import Dynamic
from accel.export.proof.prove import ProofSettings
from accel.export.quantisation.quantisation import Calibrate
from accel.export.quantisation.variant import Precision, Quantize, Variant, variant_of
from accel.values import Count

__all__ = ["CALIBRATION_SAMPLES", "ExportSettings"]

CALIBRATION_SAMPLES = 256
"""Training samples to calibrate with, unless a setting says otherwise."""


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
    precision: Precision = "float32"
    """Floats of the weights."""
    quantize: Quantize = "none"
    """What is an integer of 8 bits."""
    calibrate: Calibrate | None = None
    """How ranges are taken from data; None for minmax, or the scales that `qat` has trained."""
    samples: Count | None = None
    """Training samples to calibrate with, at most; None for `CALIBRATION_SAMPLES`."""
    sensitivity: bool = True
    """Whether each layer is measured even where all of them can be integers."""
    proof: ProofSettings = field(default_factory=ProofSettings)

    @property
    def variant(self) -> Variant:
        """The numbers that the files are to have."""
        return variant_of(self.precision, self.quantize)

    @property
    def of_targets(self) -> dict[str, Any]:
        """Settings of targets, by name; a target takes those that it has."""
        place = {"python": self.proof.python, "time_limit": self.proof.time_limit}
        return {"variant": self.variant, "opset": self.opset, "fusion": self.fusion, **place}
