"""executorch: PyTorch's own engine for phones, one sample at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from numpy.typing import NDArray

from accel.export.target import Arrays, Runner
from accel.export.targets.converted_target import FromProgram

__all__ = ["ExecuTorch"]


@dataclass
class ExecuTorch(FromProgram):
    """PyTorch's engine for phones, with the operators of XNNPACK. Its memory is planned for one size: a call takes one sample.

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
    batch: ClassVar[int | None] = 1

    def convert(self, source: Path, folder: Path) -> None:
        import torch
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        from executorch.exir import to_edge_transform_and_lower

        program = torch.export.load(source / "model.pt2")
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
