"""onnx: the file that most engines read, run by ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from accel.errors import ConfigError
from accel.export.quantisation.onnx_source import OnnxSource
from accel.export.quantisation.variant import Variant
from accel.export.target import Runner, Target

if TYPE_CHECKING:
    from torch import nn

    from accel.export.example import Example

__all__ = ["Onnx"]


@dataclass
class Onnx(Target):
    """The file that most engines read, made by torch's exporter from the graph of torch.export, and run by ONNX Runtime.

    Source: https://onnx.ai; https://docs.pytorch.org/docs/stable/onnx.html.
    """

    name: ClassVar[str] = "onnx"
    file: ClassVar[str] = "model.onnx"
    about: ClassVar[str] = "read by most engines, run by ONNX Runtime"
    extra: ClassVar[str] = "export-onnx"
    builds_with: ClassVar[tuple[str, ...]] = ("onnx", "onnxscript")
    runs_with: ClassVar[tuple[str, ...]] = ("onnxruntime",)
    distributions: ClassVar[tuple[str, ...]] = ("onnx", "onnxscript", "onnxruntime")
    variants: ClassVar[Mapping[Variant, float]] = {"float16": 5e-3, "static": 0.25, "dynamic": 0.25, "weights": 0.1}
    has_consumer: ClassVar[bool] = True

    opset: int = 20
    """Version of the operators in the file."""
    source: OnnxSource = field(default_factory=OnnxSource, repr=False)
    """The files of this model, as far as they are made."""

    def build(self, model: nn.Module, example: Example, folder: Path) -> None:
        self.source.write(model, example, folder / self.file, self.opset, self.variant, self.quantisation)

    def load(self, folder: Path, threads: int) -> Runner:
        from accel.export.targets.ort_session import ort_runner

        return ort_runner(folder / self.file, threads)


def write_onnx(model: nn.Module, example: Example, file: Path, opset: int) -> None:
    """Write a model as an ONNX file, and let the checker of onnx look at it. The arguments are those of `Target.build`."""
    import onnx
    import torch

    from accel.export.traced import exported_program

    program = torch.onnx.export(
        exported_program(model, example), (), dynamo=True, opset_version=opset, verbose=False, external_data=False,
        input_names=[info.name for info in example.input_infos], output_names=[info.name for info in example.output_infos],
    )  # fmt: skip
    assert program is not None
    program.save(file)
    onnx.checker.check_model(str(file), full_check=True)
    written = next(one.version for one in onnx.load(file).opset_import if not one.domain)
    if written != opset:  # torch's exporter keeps its own where it knows no way to the other, and says so in a log alone
        raise ConfigError(f"opset={opset}: torch cannot write this model in these operators, and wrote {written}; leave it out")
