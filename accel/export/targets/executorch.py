"""executorch: PyTorch's own engine for phones, one sample at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from numpy.typing import NDArray

from accel.export.quantisation.variant import Variant
from accel.export.target import Arrays, Runner
from accel.export.targets.converted_target import FromProgram

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.export import ExportedProgram

    from accel.export.example import Example

__all__ = ["ExecuTorch"]


@dataclass
class ExecuTorch(FromProgram):
    """PyTorch's engine for phones, with the operators of XNNPACK. Its memory is planned for one size: a call takes one sample.

    Its `static` is that of torchao for XNNPACK: weights with a scale for each filter, ranges of inputs by histograms, all layers.

    Source: https://docs.pytorch.org/executorch; https://github.com/google/XNNPACK.
    """

    name: ClassVar[str] = "executorch"
    file: ClassVar[str] = "model.pte"
    about: ClassVar[str] = "PyTorch's engine for phones, one sample at a time"
    extra: ClassVar[str] = "export-executorch"
    converts_with: ClassVar[tuple[str, ...]] = ("executorch",)
    runs_with: ClassVar[tuple[str, ...]] = ("executorch",)
    lives_apart: ClassVar[bool] = True
    distributions: ClassVar[tuple[str, ...]] = ("executorch",)
    variants: ClassVar[Mapping[Variant, float]] = {"static": 0.25}
    mixes: ClassVar[bool] = False
    batch: ClassVar[int | None] = 1

    def prepare(self, model: nn.Module, example: Example, folder: Path) -> None:
        import torch

        super().prepare(model, example, folder)
        if self.quantisation is not None:
            torch.save([list(inputs) for inputs in self.quantisation.calibration], folder / CALIBRATION)

    def convert(self, source: Path, folder: Path) -> None:
        import torch
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        from executorch.exir import to_edge_transform_and_lower

        program = torch.export.load(source / "model.pt2")
        if self.variant == "static":
            program = torch.export.export(integers(program, torch.load(source / CALIBRATION)), program.example_inputs[0])
        lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()]).to_executorch()
        (folder / self.file).write_bytes(lowered.buffer)

    def load(self, folder: Path, threads: int) -> Runner:
        import torch
        from executorch.extension.pybindings.portable_lib import _unsafe_reset_threadpool
        from executorch.runtime import Runtime

        _unsafe_reset_threadpool(threads)
        method = Runtime.get().load_program(folder / self.file).load_method("forward")

        def run(inputs: Sequence[NDArray[Any]]) -> Arrays:
            return [one.numpy() for one in method.execute([torch.from_numpy(one) for one in inputs])]

        return run


CALIBRATION = "calibration.pt"
"""Batches of inputs that the process of the engine is given."""


def integers(program: ExportedProgram, batches: Sequence[Sequence[Tensor]]) -> Any:
    """Return the graph of a program with layers of integers, by the ranges of some batches of inputs."""
    from executorch.backends.xnnpack.quantizer import xnnpack_quantizer
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    quantizer = xnnpack_quantizer.XNNPACKQuantizer()
    quantizer.set_global(xnnpack_quantizer.get_symmetric_quantization_config(is_per_channel=True))
    prepared = prepare_pt2e(program.module(), quantizer)
    for batch in batches:
        for sample in zip(*((one[None] for one in inputs) for inputs in batch), strict=True):
            prepared(*sample)
    return convert_pt2e(prepared)
