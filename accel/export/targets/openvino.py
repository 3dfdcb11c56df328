"""openvino: Intel's engine for its processors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, ClassVar

from numpy.typing import NDArray

from accel.export.target import Arrays, Runner, Target

if TYPE_CHECKING:
    from torch import nn

    from accel.export.example import Example

__all__ = ["OpenVino"]


@dataclass
class OpenVino(Target):
    """Intel's engine, by way of an ONNX file. It computes in float32; by itself it takes bfloat16 where the processor has it.

    Source: https://docs.openvino.ai. The file is read and not converted by `openvino.convert_model`, which reports its use to
    Intel.
    """

    name: ClassVar[str] = "openvino"
    file: ClassVar[str] = "model.xml"
    about: ClassVar[str] = "Intel's engine"
    extra: ClassVar[str] = "export-openvino"
    builds_with: ClassVar[tuple[str, ...]] = ("onnx", "onnxscript", "openvino")
    runs_with: ClassVar[tuple[str, ...]] = ("openvino",)
    distributions: ClassVar[tuple[str, ...]] = ("openvino", "onnx", "onnxscript")

    opset: int = 20
    """Version of the operators in the ONNX file that it is made of."""

    def build(self, model: nn.Module, example: Example, folder: Path) -> None:
        import openvino

        from accel.export.targets.onnx import write_onnx

        with TemporaryDirectory() as aside:
            source = Path(aside, "model.onnx")
            write_onnx(model, example, source, self.opset)
            openvino.save_model(openvino.Core().read_model(source), folder / self.file, compress_to_fp16=False)

    def load(self, folder: Path, threads: int) -> Runner:
        import openvino

        hints = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
        compiled = openvino.Core().compile_model(folder / self.file, "CPU", hints)

        def run(inputs: Sequence[NDArray[Any]]) -> Arrays:
            outputs = compiled(list(inputs))
            return [outputs[place].copy() for place in range(len(compiled.outputs))]

        return run
