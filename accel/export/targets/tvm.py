"""tvm: machine code made by Apache TVM for the processor at hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from accel.export.target import Arrays, Runner
from accel.export.targets.converted_target import FromProgram

__all__ = ["Tvm"]

FUSING = ("FuseOps", "FuseTIR")
"""Passes that merge operators."""


@dataclass
class Tvm(FromProgram):
    """Machine code made by TVM's Relax for the processor at hand, with LLVM's default schedules: it is not tuned, and slow.

    Source: https://tvm.apache.org; Chen et al. 2018, https://arxiv.org/abs/1802.04799, whose section 3 is on merging operators.
    """

    name: ClassVar[str] = "tvm"
    file: ClassVar[str] = "model.so"
    about: ClassVar[str] = "machine code for this processor, untuned"
    extra: ClassVar[str] = "export-tvm"
    converts_with: ClassVar[tuple[str, ...]] = ("tvm", "torch")
    runs_with: ClassVar[tuple[str, ...]] = ("tvm",)
    lives_apart: ClassVar[bool] = True
    distributions: ClassVar[tuple[str, ...]] = ("apache-tvm",)

    fusion: bool = True
    """Whether operators are merged into one loop where that can be."""

    def convert(self, source: Path, folder: Path) -> None:
        import torch
        import tvm
        from tvm.relax.backend.cpu_generic import pipeline as passes
        from tvm.relax.frontend.torch import from_exported_program

        module = from_exported_program(torch.export.load(source / "model.pt2"))
        target = tvm.target.Target.from_device("cpu")
        stages = (passes.library_dispatch_passes, passes.legalize_passes, passes.dataflow_lower_passes, passes.finalize_passes)
        steps = [step for stage in stages for step in stage(target) if self.fusion or step.info.name not in FUSING]
        with target:
            module = tvm.ir.transform.Sequential(steps)(module)
        tvm.compile(module, target=target, relax_pipeline=None).export_library(str(folder / self.file))

    def load(self, folder: Path, threads: int) -> Runner:
        import tvm  # it takes its threads from TVM_NUM_THREADS

        machine = tvm.relax.VirtualMachine(tvm.runtime.load_module(str(folder / self.file)), tvm.cpu())

        def run(inputs: Sequence[NDArray[Any]]) -> Arrays:
            output = machine["main"](*(tvm.runtime.tensor(np.ascontiguousarray(one)) for one in inputs))
            return [one.numpy() for one in ([output] if isinstance(output, tvm.runtime.Tensor) else output)]

        return run
