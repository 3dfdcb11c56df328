"""litert: Google's engine for phones, TensorFlow Lite's heir, one sample at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from numpy.typing import NDArray

from accel.export.target import Arrays, Runner
from accel.export.targets.converted_target import FromProgram

__all__ = ["LiteRt"]


@dataclass
class LiteRt(FromProgram):
    """Google's engine for phones, the heir of TensorFlow Lite, whose files it reads. A call takes one sample.

    Source: https://ai.google.dev/edge/litert; https://github.com/google-ai-edge/litert-torch.
    """

    name: ClassVar[str] = "litert"
    file: ClassVar[str] = "model.tflite"
    about: ClassVar[str] = "TensorFlow Lite's heir, one sample at a time"
    extra: ClassVar[str] = "export-litert"
    converts_with: ClassVar[tuple[str, ...]] = ("litert_torch",)
    runs_with: ClassVar[tuple[str, ...]] = ("ai_edge_litert",)
    lives_apart: ClassVar[bool] = True
    distributions: ClassVar[tuple[str, ...]] = ("litert-torch", "ai-edge-litert")
    batch: ClassVar[int | None] = 1

    def convert(self, source: Path, folder: Path) -> None:
        import litert_torch
        import torch

        program = torch.export.load(source / "model.pt2")
        litert_torch.convert(program.module(), program.example_inputs[0]).export(str(folder / self.file))

    def load(self, folder: Path, threads: int) -> Runner:
        from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(str(folder / self.file), num_threads=threads)
        interpreter.allocate_tensors()
        (signature,) = interpreter.get_signature_list().values()
        call = interpreter.get_signature_runner()

        def run(inputs: Sequence[NDArray[Any]]) -> Arrays:
            outputs = call(**dict(zip(sorted(signature["inputs"], key=place), inputs, strict=True)))
            return [outputs[name] for name in sorted(signature["outputs"], key=place)]

        return run


def place(name: str) -> int:
    """Return which input or output has a name: `args_1`, `output_0`."""
    return int(name.rpartition("_")[2])
