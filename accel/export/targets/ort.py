"""ort: the format of ONNX Runtime, its graph optimised beforehand, as small builds of it need it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, ClassVar

from accel.export.target import Runner, Target

if TYPE_CHECKING:
    from torch import nn

    from accel.export.example import Example

__all__ = ["Ort"]


@dataclass
class Ort(Target):
    """ONNX Runtime's own format: a graph that is optimised beforehand, and is loaded faster and by its small builds for phones.

    Source: https://onnxruntime.ai/docs/performance/model-optimizations/ort-format-models.html.
    """

    name: ClassVar[str] = "ort"
    file: ClassVar[str] = "model.ort"
    about: ClassVar[str] = "ONNX Runtime's own format, optimised beforehand"
    extra: ClassVar[str] = "export-onnx"
    builds_with: ClassVar[tuple[str, ...]] = ("onnx", "onnxscript", "onnxruntime")
    runs_with: ClassVar[tuple[str, ...]] = ("onnxruntime",)
    distributions: ClassVar[tuple[str, ...]] = ("onnx", "onnxscript", "onnxruntime")
    has_consumer: ClassVar[bool] = True

    opset: int = 20
    """Version of the operators in the ONNX file that it is made of."""

    def build(self, model: nn.Module, example: Example, folder: Path) -> None:
        from accel.export.targets.onnx import write_onnx
        from accel.export.targets.ort_session import optimise

        with TemporaryDirectory() as aside:
            source = Path(aside, "model.onnx")
            write_onnx(model, example, source, self.opset)
            optimise(source, folder / self.file)

    def load(self, folder: Path, threads: int) -> Runner:
        from accel.export.targets.ort_session import ort_runner

        return ort_runner(folder / self.file, threads)
