"""mnn: Alibaba's engine for phones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from accel.export.target import Arrays, Runner, Target

if TYPE_CHECKING:
    from torch import nn

    from accel.export.example import Example

__all__ = ["Mnn"]


@dataclass
class Mnn(Target):
    """Alibaba's engine for phones, by way of an ONNX file.

    Its command `mnnconvert` installs a package and reports its use to a server, so the function behind it is called.

    Source: https://github.com/alibaba/MNN.
    """

    name: ClassVar[str] = "mnn"
    file: ClassVar[str] = "model.mnn"
    about: ClassVar[str] = "for phones"
    extra: ClassVar[str] = "export-mnn"
    builds_with: ClassVar[tuple[str, ...]] = ("onnx", "onnxscript", "MNN")
    runs_with: ClassVar[tuple[str, ...]] = ("MNN",)
    distributions: ClassVar[tuple[str, ...]] = ("MNN", "onnx", "onnxscript")

    opset: int = 20
    """Version of the operators in the ONNX file that it is made of."""

    def build(self, model: nn.Module, example: Example, folder: Path) -> None:
        import _tools

        from accel.export.targets.onnx import write_onnx

        with TemporaryDirectory() as aside:
            source = Path(aside, "model.onnx")
            write_onnx(model, example, source, self.opset)
            words = ["x", "-f", "ONNX", "--modelFile", str(source), "--MNNModel", str(folder / self.file), "--bizCode", "accel"]
            _tools.mnnconvert(words)
        if not (folder / self.file).is_file():
            raise RuntimeError("mnnconvert wrote no file")

    def load(self, folder: Path, threads: int) -> Runner:
        import MNN

        runtime = MNN.nn.create_runtime_manager(({"backend": "CPU", "precision": "high", "numThread": threads},))
        module = MNN.nn.load_module_from_file(str(folder / self.file), [], [], runtime_manager=runtime)

        def run(inputs: Sequence[NDArray[Any]]) -> Arrays:
            outputs = module.forward([MNN.expr.const(array, array.shape) for array in inputs])
            return [np.array(one.read()) for one in outputs]

        return run
