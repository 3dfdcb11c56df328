"""pt2: the graph of torch.export, run by torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from numpy.typing import NDArray

from accel.export.quantisation.variant import Variant
from accel.export.target import Runner, Target

if TYPE_CHECKING:
    from torch import nn
    from torch.export import ExportedProgram

    from accel.export.example import Example

__all__ = ["Pt2"]


class Pt2(Target):
    """The graph of torch.export in one file, which is run by torch, compiled by AOTInductor, or taken by other compilers.

    Source: https://docs.pytorch.org/docs/stable/export.html.
    """

    name: ClassVar[str] = "pt2"
    file: ClassVar[str] = "model.pt2"
    about: ClassVar[str] = "torch.export, run by torch"
    distributions: ClassVar[tuple[str, ...]] = ("torch",)
    variants: ClassVar[Mapping[Variant, float]] = {"float16": 1e-2, "bfloat16": 5e-2}

    def build(self, model: nn.Module, example: Example, folder: Path) -> None:
        import torch

        from accel.export.quantisation.half_model import in_precision
        from accel.export.traced import exported_program

        content = BytesIO()  # torch's own writer of files ends the process where the disk is full
        torch.export.save(exported_program(in_precision(model, self.variant), example), content)
        (folder / self.file).write_bytes(content.getbuffer())

    def load(self, folder: Path, threads: int) -> Runner:
        import torch

        from accel.export.engines.torch_runner import torch_runner

        return torch_runner(torch.export.load(folder / self.file).module(), threads)

    def graph(self, model: nn.Module, example: Example) -> ExportedProgram:
        from accel.export.traced import exported_program

        return exported_program(model, example)

    def layers(self, folder: Path, names: Sequence[str], inputs: Sequence[NDArray[Any]]) -> dict[str, NDArray[Any]]:
        import torch

        from accel.export.engines.torch_layers import arrays_of, graph_layers

        module: Any = torch.export.load(folder / self.file).module()
        return arrays_of(graph_layers(module, [torch.from_numpy(one) for one in inputs]), names)
