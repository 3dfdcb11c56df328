"""onnx: the file that most engines read, run by ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from numpy.typing import NDArray

from accel.errors import ConfigError
from accel.export.quantisation.onnx_source import OnnxSource
from accel.export.quantisation.variant import Variant
from accel.export.target import Runner, Target

if TYPE_CHECKING:
    from torch import nn
    from torch.export import ExportedProgram

    from accel.export.example import Example

__all__ = ["Onnx", "onnx_graph", "with_outputs", "write_onnx"]


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
        from accel.export.engines.ort_session import ort_runner

        return ort_runner(folder / self.file, threads)

    def graph(self, model: nn.Module, example: Example) -> ExportedProgram | None:
        return onnx_graph(model, example, self.opset)

    def layers(self, folder: Path, names: Sequence[str], inputs: Sequence[NDArray[Any]]) -> dict[str, NDArray[Any]]:
        from accel.export.engines.ort_session import ort_layers

        return ort_layers(folder / self.file, names, inputs)


def write_onnx(model: nn.Module, example: Example, file: Path, opset: int) -> None:
    """Write a model as an ONNX file, and let the checker of onnx look at it. The arguments are those of `Target.build`."""
    import onnx

    _onnx_program(model, example, opset).save(file)
    onnx.checker.check_model(str(file), full_check=True)
    written = next(one.version for one in onnx.load(file).opset_import if not one.domain)
    if written != opset:  # torch's exporter keeps its own where it knows no way to the other, and says so in a log alone
        raise ConfigError(f"opset={opset}: torch cannot write this model in these operators, and wrote {written}; leave it out")


def onnx_graph(model: nn.Module, example: Example, opset: int) -> ExportedProgram | None:
    """Return the graph of torch whose operators have the names that those of an ONNX file have. The arguments are as above."""
    graph: ExportedProgram | None = _onnx_program(model, example, opset).exported_program
    return graph


def _onnx_program(model: nn.Module, example: Example, opset: int) -> Any:
    """Return a model as `torch.onnx.ONNXProgram`."""
    import onnx
    import torch

    from accel.export.traced import exported_program

    if opset > (newest := onnx.defs.onnx_opset_version()):
        raise ConfigError(
            f"opset={opset}: torch cannot write this model in these operators: onnx {onnx.__version__} knows those up to {newest}; "
            "name one of them, or leave it out"
        )
    return torch.onnx.export(
        exported_program(model, example), (), dynamo=True, opset_version=opset, verbose=False, external_data=False,
        input_names=[info.name for info in example.input_infos], output_names=[info.name for info in example.output_infos],
    )  # fmt: skip


def with_outputs(file: Path, names: Sequence[str]) -> bytes:
    """Return an ONNX file with more outputs: those of its operators that are among the names."""
    import onnx

    model = onnx.load(file)
    own = {name for node in model.graph.node for name in node.output} - {one.name for one in model.graph.output}
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name in own)
    content: bytes = model.SerializeToString()
    return content
