"""mnn: Alibaba's engine for phones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from accel.export.quantisation.variant import Variant
from accel.export.target import Arrays, Runner
from accel.export.targets.converted_target import FromOnnx

__all__ = ["Mnn"]

FLAGS: dict[Variant, tuple[str, ...]] = {"float16": ("--fp16",), "weights": ("--weightQuantBits", "8")}
"""Of the converter. Weights are stored so, and computed with in float32."""


@dataclass
class Mnn(FromOnnx):
    """Alibaba's engine for phones, by way of an ONNX file.

    Its command `mnnconvert` installs a package and reports its use to a server, so the function behind it is called.

    Source: https://github.com/alibaba/MNN.
    """

    name: ClassVar[str] = "mnn"
    file: ClassVar[str] = "model.mnn"
    about: ClassVar[str] = "for phones"
    extra: ClassVar[str] = "export-mnn"
    builds_with: ClassVar[tuple[str, ...]] = ("onnx", "onnxscript")
    runs_with: ClassVar[tuple[str, ...]] = ("MNN",)
    distributions: ClassVar[tuple[str, ...]] = ("MNN", "onnx", "onnxscript")
    variants: ClassVar[Mapping[Variant, float]] = {"float16": 5e-3, "weights": 0.1}
    mixes: ClassVar[bool] = False

    def convert(self, source: Path, folder: Path) -> None:
        import _tools

        words = ["x", "-f", "ONNX", "--modelFile", str(source / "model.onnx"), "--MNNModel", str(folder / self.file)]
        _tools.mnnconvert([*words, "--bizCode", "accel", *FLAGS.get(self.variant, ())])
        if not (folder / self.file).is_file():
            raise RuntimeError("mnnconvert wrote no file")

    def load(self, folder: Path, threads: int) -> Runner:
        import MNN

        runtime = MNN.nn.create_runtime_manager(({"backend": "CPU", "precision": "high", "numThread": threads},))
        module = MNN.nn.load_module_from_file(str(folder / self.file), [], [], runtime_manager=runtime)

        def run(inputs: Sequence[NDArray[Any]]) -> Arrays:
            outputs = module.forward([MNN.expr.const(array, array.shape) for array in inputs])
            return [array_of(one) for one in outputs]

        return run

    def layers(self, folder: Path, names: Sequence[str], inputs: Sequence[NDArray[Any]]) -> dict[str, NDArray[Any]]:
        import MNN

        runtime = MNN.nn.create_runtime_manager(({"backend": "CPU", "precision": "high"},))
        values = {}
        for name in names:  # one at a time: it refuses all of them for one that it has fused into another
            with suppress(SystemError, RuntimeError):
                module = MNN.nn.load_module_from_file(str(folder / self.file), [], [name], runtime_manager=runtime)
                (value,) = module.forward([MNN.expr.const(array, array.shape) for array in inputs])
                values[name] = array_of(value)
        return values


def array_of(value: Any) -> NDArray[Any]:
    """Return a value of the engine as the model's array. Convolutions leave theirs in blocks of four channels (NC4HW4)."""
    import MNN

    if value.data_format == MNN.expr.NC4HW4:
        value = MNN.expr.convert(value, MNN.expr.NCHW)
    return np.array(value.read())
