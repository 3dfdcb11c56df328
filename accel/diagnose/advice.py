"""Advice on a model: its layers against the roofs of this machine, and findings, which draw themselves."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from accel.diagnose.findings.finding import Finding
from accel.diagnose.findings.memory_access_cost import access_ratio
from accel.diagnose.layers.layer_table import Layer, LayerTable
from accel.diagnose.layers.operator_work import UNCOUNTED
from accel.report.result import finite

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["CONVENTION", "SCHEMA", "Advice", "one_by_one_ratios"]

SCHEMA = 1
"""Version of the document of `Advice.to_dict`."""
CONVENTION = (
    "FLOPs by torch.utils.flop_counter: a multiplication and an addition are two, and only products count. "
    "Bytes: inputs, parameters and outputs of each operator; a view moves none"
)


@dataclass(frozen=True)
class Advice:
    """What a model computes and moves, how fast on this machine, and what would make it faster.

    Args:
        model: name of its class.
        table: its layers, with their operators.
        findings: what saves most first.
        parameters: number of elements of all parameters.
        samples: in words, what was passed through it.
        passes: passes that were timed.
        spread: of the seconds of whole passes: the least and the most.
        ceilings_source: how the ceilings of this machine are known, in words.
        seconds: that all of it took.
        command: the command; empty in Python.
        busy: percent of the cores that other processes took while passes were timed; None if it is not known.
    """

    model: str
    table: LayerTable
    findings: tuple[Finding, ...]
    parameters: int
    samples: str
    passes: int
    spread: tuple[float, float]
    ceilings_source: str
    seconds: float = 0.0
    command: str = ""
    busy: float | None = None

    convention = CONVENTION

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Layers that have operators, in the order of the model."""
        return self.table.layers

    @cached_property
    def flops(self) -> int:
        """Floating-point operations of a pass."""
        return sum(one.flops for one in self.table.operations)

    @cached_property
    def bytes(self) -> int:
        """Bytes that a pass moves."""
        return sum(one.bytes for one in self.table.operations)

    @property
    def uncounted(self) -> tuple[str, ...]:
        """Operators that compute much and count as nothing, for torch has no formula for them."""
        return tuple(dict.fromkeys(one.name for one in self.table.operations if one.name in UNCOUNTED))

    def to_dict(self) -> dict[str, Any]:
        """Return the content of the JSON document, plain values; what is not finite becomes None."""
        table = self.table
        ceilings = asdict(table.ceilings)
        ceilings["copies"] = {str(size): speed for size, speed in table.ceilings.copies.items()}
        content = {
            "schema": SCHEMA, "kind": "advice", "command": self.command, "model": self.model, "batch": self.samples,
            "convention": CONVENTION, "device": table.device, "trains": table.trains, "seconds": self.seconds, "busy": self.busy,
            "pass": {
                "seconds": table.seconds, "least_seconds": self.spread[0], "most_seconds": self.spread[1], "passes": self.passes,
                "operator_seconds": table.operator_seconds, "flops": self.flops, "bytes": self.bytes, "parameters": self.parameters,
                "uncounted": list(self.uncounted),
            },
            "ceilings": {**ceilings, "source": self.ceilings_source}, "layers": [self._row(layer) for layer in self.layers],
            "findings": [self._finding(one) for one in self.findings],
        }  # fmt: skip
        plain: dict[str, Any] = finite(content)
        return plain

    def _finding(self, finding: Finding) -> dict[str, Any]:
        """Return a finding as plain values."""
        names = ("name", "problem", "evidence", "gain", "ceiling", "change", "gain_note")
        return {**{name: getattr(finding, name) for name in names}, "layers": list(finding.layers)}

    def _row(self, layer: Layer) -> dict[str, Any]:
        """Return a layer as plain values."""
        ceilings = self.table.ceilings
        return {
            "path": layer.path, "kind": layer.kind, "dtype": layer.dtype, "parameters": layer.parameters, "flops": layer.flops,
            "bytes": layer.bytes, "intensity": layer.intensity, "bound": layer.bound(ceilings),
            "forward_seconds": layer.forward_seconds, "backward_seconds": layer.backward_seconds,
            "share": self.table.share(layer.seconds), "roof_seconds": layer.roof_seconds(ceilings),
            "access_ratio": one_by_one_ratios(layer),
        }  # fmt: skip

    def draw(self, picture: str | Path) -> None:
        """Draw the roofline into an SVG file. Raise OSError if the disk does not take it."""
        from accel.diagnose.roofline_plot import draw

        draw(self, Path(picture))

    def __rich__(self) -> RenderableType:
        from accel.diagnose.advice_page import draw

        return draw(self)

    def __repr__(self) -> str:
        from accel.diagnose.advice_page import as_text

        return as_text(self)

    def _repr_html_(self) -> str:
        from accel.diagnose.advice_page import as_html

        return as_html(self)


def one_by_one_ratios(layer: Layer) -> float | None:
    """Return the memory access cost of a layer's 1x1 convolution over its lower bound; None if it has none without groups."""
    for one in layer.operations:
        if one.is_one_by_one and not one.backward and one.groups == 1 and one.channels is not None:
            places = 1
            for size in one.outputs[0].shape[2:]:
                places *= size
            return access_ratio(places, *one.channels)
    return None
