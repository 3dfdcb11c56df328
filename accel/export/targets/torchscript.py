"""torchscript: a traced and frozen module, run by torch and by its C++ library."""

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

__all__ = ["TorchScript"]


class TorchScript(Target):
    """A traced and frozen module in one file, for libtorch and older torch. Whatever the trace did not meet is not in it.

    Source: https://docs.pytorch.org/docs/stable/jit.html, which calls it deprecated: pt2 is its heir.
    """

    name: ClassVar[str] = "torchscript"
    file: ClassVar[str] = "model.ts"
    about: ClassVar[str] = "traced and frozen, run by torch and libtorch"
    distributions: ClassVar[tuple[str, ...]] = ("torch",)
    variants: ClassVar[Mapping[Variant, float]] = {"float16": 1e-2, "bfloat16": 5e-2}

    def build(self, model: nn.Module, example: Example, folder: Path) -> None:
        import torch

        from accel.export.quantisation.half_model import in_precision
        from accel.export.traced import traced_module

        content = BytesIO()  # torch's own writer of files ends the process where the disk is full
        torch.jit.save(torch.jit.freeze(traced_module(in_precision(model, self.variant), example)), content)
        (folder / self.file).write_bytes(content.getbuffer())

    def load(self, folder: Path, threads: int) -> Runner:
        import torch

        from accel.export.engines.torch_runner import torch_runner

        load: Any = torch.jit.load
        return torch_runner(load(str(folder / self.file), map_location="cpu"), threads)

    def graph(self, model: nn.Module, example: Example) -> ExportedProgram:
        from accel.export.traced import exported_program

        return exported_program(model, example)

    def layers(self, folder: Path, names: Sequence[str], inputs: Sequence[NDArray[Any]]) -> dict[str, NDArray[Any]]:
        import torch

        from accel.export.engines.torch_layers import arrays_of, script_layers

        load: Any = torch.jit.load
        script = load(str(folder / self.file), map_location="cpu")
        return arrays_of(script_layers(script, names, [torch.from_numpy(one) for one in inputs]), names)
