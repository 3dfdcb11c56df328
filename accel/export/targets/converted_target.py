"""Targets whose engine makes its files of another file, in the interpreter that has the engine."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field, fields
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from accel.export.quantisation.onnx_source import OnnxSource
from accel.export.runtime.build_process import build_apart
from accel.export.runtime.engine_process import TIME_LIMIT
from accel.export.target import Target

if TYPE_CHECKING:
    from torch import nn
    from torch.export import ExportedProgram

    from accel.export.example import Example

__all__ = ["ConvertedTarget", "FromOnnx", "FromProgram"]

PLACE = ("python", "time_limit", "quantisation", "source")
"""Fields that the process of the engine is not given."""


@dataclass
class ConvertedTarget(Target):
    """A target in two steps: a file that torch writes here, and what its engine makes of that in a process of its own.

    So an engine may live in another environment (`python=`), and one that crashes or hangs takes nothing with it.
    """

    python: str | None = None
    """The interpreter that has the engine; None for this one."""
    time_limit: float = TIME_LIMIT
    """Seconds that the engine may take."""

    @abstractmethod
    def prepare(self, model: nn.Module, example: Example, folder: Path) -> None:
        """Write what the engine starts from into an empty folder. The arguments are those of `build`."""

    @abstractmethod
    def convert(self, source: Path, folder: Path) -> None:
        """Make the files of the engine. It is called in the process of the engine, and may raise anything.

        Args:
            source: the folder that `prepare` wrote to.
            folder: an empty folder for the files.
        """

    def build(self, model: nn.Module, example: Example, folder: Path) -> None:
        settings = {one.name: getattr(self, one.name) for one in fields(self) if one.name not in PLACE}
        with TemporaryDirectory() as aside:
            self.prepare(model, example, Path(aside))
            build_apart(self.name, settings, Path(aside), folder, self.python, self.time_limit)


@dataclass
class FromOnnx(ConvertedTarget):
    """A target that is made of `model.onnx`, which has the integers of a variant, and else float32."""

    opset: int = 20
    """Version of the operators in the ONNX file."""
    source: OnnxSource = field(default_factory=OnnxSource, repr=False)
    """The files of this model, as far as they are made."""

    def prepare(self, model: nn.Module, example: Example, folder: Path) -> None:
        of_file = self.variant if self.mixes and self.quantisation is not None else "float32"  # others quantise by themselves
        self.source.write(model, example, folder / "model.onnx", self.opset, of_file, self.quantisation)

    def graph(self, model: nn.Module, example: Example) -> ExportedProgram | None:
        from accel.export.targets.onnx import onnx_graph

        return onnx_graph(model, example, self.opset)


@dataclass
class FromProgram(ConvertedTarget):
    """A target that is made of `model.pt2`, the graph of torch.export."""

    def prepare(self, model: nn.Module, example: Example, folder: Path) -> None:
        import torch

        from accel.export.traced import exported_program

        torch.export.save(exported_program(model, example), folder / "model.pt2")
