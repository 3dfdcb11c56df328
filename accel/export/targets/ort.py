"""ort: the format of ONNX Runtime, its graph optimised beforehand, as small builds of it need it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

from numpy.typing import NDArray

from accel.export.quantisation.variant import Variant
from accel.export.target import Runner
from accel.export.targets.converted_target import FromOnnx

__all__ = ["Ort"]


@dataclass
class Ort(FromOnnx):
    """ONNX Runtime's own format: a graph that is optimised beforehand, and is loaded faster and by its small builds for phones.

    Source: https://onnxruntime.ai/docs/performance/model-optimizations/ort-format-models.html.
    """

    name: ClassVar[str] = "ort"
    file: ClassVar[str] = "model.ort"
    about: ClassVar[str] = "ONNX Runtime's own format, optimised beforehand"
    extra: ClassVar[str] = "export-onnx"
    builds_with: ClassVar[tuple[str, ...]] = ("onnx", "onnxscript")
    runs_with: ClassVar[tuple[str, ...]] = ("onnxruntime",)
    distributions: ClassVar[tuple[str, ...]] = ("onnx", "onnxscript", "onnxruntime")
    variants: ClassVar[Mapping[Variant, float]] = {"static": 0.25, "dynamic": 0.25, "weights": 0.1}
    has_consumer: ClassVar[bool] = True

    def convert(self, source: Path, folder: Path) -> None:
        from accel.export.engines.ort_session import optimise

        optimise(source / "model.onnx", folder / self.file)

    def load(self, folder: Path, threads: int) -> Runner:
        from accel.export.engines.ort_session import ort_runner

        return ort_runner(folder / self.file, threads)

    def layers(self, folder: Path, names: Sequence[str], inputs: Sequence[NDArray[Any]]) -> dict[str, NDArray[Any]]:
        from accel.export.engines.ort_session import as_onnx, ort_layers

        with TemporaryDirectory() as aside:
            as_onnx(folder / self.file, Path(aside, "model.onnx"))
            return ort_layers(Path(aside, "model.onnx"), names, inputs)
