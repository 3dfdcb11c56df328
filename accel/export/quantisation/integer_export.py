"""The export of one model to integers of 8 bits: its layers, what calibrates them, and how sensitive each is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from numpy.typing import NDArray
from torch import Tensor, nn

from accel.compress.quantisation.torchao_pt2e import LayerScales
from accel.errors import ConfigError
from accel.export.example import Example
from accel.export.quantisation.layer_errors import layer_errors
from accel.export.quantisation.onnx_source import OnnxSource
from accel.export.quantisation.quantisation import Calibrate, Quantisation
from accel.export.target import Target

__all__ = ["IntegerExport"]

MOST_SAMPLES = 64
"""Samples by which the sensitivity of layers is measured, at most."""


@dataclass
class IntegerExport:
    """How a target writes one model in integers.

    Args:
        target: makes the files.
        model: as `Target.build` is given it.
        example: one call of it.
        calibrate: how ranges are taken from data; None for minmax.
        batches: inputs as the graph takes them, to calibrate with, and to measure layers by.
        scales: those that were trained, by layer; empty without.
    """

    target: Target
    model: nn.Module
    example: Example
    calibrate: Calibrate | None
    batches: tuple[tuple[Tensor, ...], ...]
    scales: Mapping[str, LayerScales] = field(default_factory=dict)
    measured: dict[str, float] = field(default_factory=dict, init=False)
    """The error that each layer makes, where that was asked for."""

    @property
    def source(self) -> OnnxSource:
        """The ONNX files. Raise ConfigError for a target that quantises in a way of its own."""
        source = getattr(self.target, "source", None)
        if not isinstance(source, OnnxSource):
            raise ConfigError(f"target={self.target.name} does not quantise layer by layer")
        return source

    @cached_property
    def layers(self) -> tuple[str, ...]:
        """The layers that can become integers, by name, in order; empty for a target that does not tell.

        Raises:
            ConfigError: if there is none.
        """
        if not self.target.mixes:
            return ()
        known = self.source.layers(self.model, self.example, self.opset)
        if self.target.variant == "dynamic":
            known = {name: operators for name, operators in known.items() if "Conv" not in operators}
        names = tuple(name for name in known if not self.scales or name in self.scales)
        if lost := [name for name in self.scales if name not in known]:
            raise ConfigError(f"quantize=static: {lost[0]} was trained in 8 bits, and the ONNX file has no layer of that name")
        if not names:
            what = "matrix product" if self.target.variant == "dynamic" else "convolution and no matrix product"
            raise ConfigError(
                f"quantize={self.target.variant}: the model has no {what} with weights, so nothing becomes an integer"
            )
        return names

    @property
    def opset(self) -> int:
        """Version of the operators."""
        return int(getattr(self.target, "opset", 20))

    def quantisation(self, layers: Sequence[str]) -> Quantisation:
        """Return what makes integers of some layers."""
        calibration = self.batches if self.target.variant == "static" and not self.scales else ()
        return Quantisation(tuple(layers), self.calibrate or "minmax", calibration, self.scales)

    def measure(self) -> dict[str, float]:
        """Return `errors`, and let the card have them."""
        self.measured = self.errors
        return self.measured

    @cached_property
    def errors(self) -> dict[str, float]:
        """The error that each layer makes alone, the largest first; empty for a target that does not tell, or trained scales."""
        if not self.target.mixes or self.scales:
            return {}
        errors = layer_errors(self._outputs, self.layers)
        return dict(sorted(errors.items(), key=lambda item: -item[1]))

    def _outputs(self, layers: Sequence[str]) -> list[NDArray[Any]]:
        variant = self.target.variant if layers else "float32"
        quantisation = self.quantisation(layers) if layers else None
        batches, count = [], 0
        for batch in self.batches:
            if count < MOST_SAMPLES:
                batches.append([one.numpy() for one in batch])
                count += len(batch[0])
        return self.source.run(self.model, self.example, self.opset, variant, quantisation, batches)

    def card(self, floats: Sequence[str]) -> dict[str, Any]:
        """Return what the card says, where some layers stayed in floats, and the error that each makes alone, as far as known."""
        calibrated = self.target.variant == "static" and not self.scales
        return {
            "calibrate": (self.calibrate or "minmax") if calibrated else "trained" if self.scales else None,
            "samples": sum(len(batch[0]) for batch in self.batches) if calibrated else None,
            "layers": [name for name in self.layers if name not in floats] if self.target.mixes else None,
            "floats": list(floats), "sensitivity": self.measured,
        }  # fmt: skip
