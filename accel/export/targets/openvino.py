"""openvino: Intel's engine for its processors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from numpy.typing import NDArray

from accel.export.quantisation.variant import Variant
from accel.export.target import Arrays, Runner
from accel.export.targets.converted_target import FromOnnx

__all__ = ["OpenVino"]


@dataclass
class OpenVino(FromOnnx):
    """Intel's engine, by way of an ONNX file. It computes in float32; by itself it takes bfloat16 where the processor has it.

    In `bfloat16` it may do that: the file is that of float32. In `float16` the weights are half floats, which are computed with
    in float32.

    Source: https://docs.openvino.ai. The file is read and not converted by `openvino.convert_model`, which reports its use to
    Intel.
    """

    name: ClassVar[str] = "openvino"
    file: ClassVar[str] = "model.xml"
    about: ClassVar[str] = "Intel's engine"
    extra: ClassVar[str] = "export-openvino"
    builds_with: ClassVar[tuple[str, ...]] = ("onnx", "onnxscript")
    runs_with: ClassVar[tuple[str, ...]] = ("openvino",)
    distributions: ClassVar[tuple[str, ...]] = ("openvino", "onnx", "onnxscript")
    variants: ClassVar[Mapping[Variant, float]] = {"bfloat16": 5e-2, "float16": 5e-3, "static": 0.25, "weights": 0.1}

    def convert(self, source: Path, folder: Path) -> None:
        import openvino

        halves = self.variant == "float16"
        openvino.save_model(openvino.Core().read_model(source / "model.onnx"), folder / self.file, compress_to_fp16=halves)

    def load(self, folder: Path, threads: int) -> Runner:
        import openvino

        precision = "bf16" if self.variant == "bfloat16" else "f32"
        hints = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY"}
        compiled = openvino.Core().compile_model(folder / self.file, "CPU", hints)

        def run(inputs: Sequence[NDArray[Any]]) -> Arrays:
            outputs = compiled(list(inputs))
            return [outputs[place].copy() for place in range(len(compiled.outputs))]

        return run

    def layers(self, folder: Path, names: Sequence[str], inputs: Sequence[NDArray[Any]]) -> dict[str, NDArray[Any]]:
        import openvino

        model = openvino.Core().read_model(folder / self.file)
        ports = [port for operator in model.get_ordered_ops() for port in operator.outputs()]
        known = [(name, port) for port in ports for name in port.get_names() if name in names]
        outputs = [output.get_any_name() for output in model.outputs]
        model.add_outputs([port for name, port in known if name not in outputs])
        done = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(list(inputs))
        return {name: done[name].copy() for name in dict.fromkeys(name for name, _ in known)}
