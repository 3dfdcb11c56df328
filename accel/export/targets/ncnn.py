"""ncnn: an engine for phones, one sample at a time."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from accel.export.quantisation.variant import Variant
from accel.export.target import Arrays, Runner
from accel.export.targets.converted_target import ConvertedTarget

if TYPE_CHECKING:
    from torch import nn

    from accel.export.example import Example

__all__ = ["Ncnn"]


class Ncnn(ConvertedTarget):
    """Tencent's engine for phones, by way of a traced module and pnnx. It has no dimension for a batch: a call takes one sample.

    In `float16` the weights are stored in half floats, and computed with in float32.

    Source: https://github.com/Tencent/ncnn; https://github.com/pnnx/pnnx.
    """

    name: ClassVar[str] = "ncnn"
    file: ClassVar[str] = "model.ncnn.param"
    about: ClassVar[str] = "for phones, one sample at a time"
    extra: ClassVar[str] = "export-ncnn"
    converts_with: ClassVar[tuple[str, ...]] = ("pnnx",)
    runs_with: ClassVar[tuple[str, ...]] = ("ncnn",)
    distributions: ClassVar[tuple[str, ...]] = ("ncnn", "pnnx")
    variants: ClassVar[Mapping[Variant, float]] = {"float16": 5e-3}
    batch: ClassVar[int | None] = 1

    def prepare(self, model: nn.Module, example: Example, folder: Path) -> None:
        import torch

        from accel.export.traced import traced_module

        torch.jit.save(traced_module(model, example), str(folder / "model.pt"))
        shapes = (f"[{','.join(map(str, one.shape))}]{PNNX_TYPES[str(one.dtype)]}" for one in example.inputs)
        (folder / "shapes").write_text(",".join(shapes))

    def convert(self, source: Path, folder: Path) -> None:
        import pnnx

        command = [
            pnnx.EXEC_PATH,
            "model.pt",
            f"inputshape={(source / 'shapes').read_text()}",
            f"fp16={int(self.variant == 'float16')}",
        ]
        done = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
        for name in (self.file, "model.ncnn.bin"):
            if not (source / name).is_file():
                raise RuntimeError(f"pnnx ended with {done.returncode}: {(done.stderr or done.stdout).strip()[-200:]}")
            (folder / name).write_bytes((source / name).read_bytes())

    def load(self, folder: Path, threads: int) -> Runner:
        import ncnn

        net = ncnn.Net()
        net.opt.num_threads, net.opt.use_vulkan_compute = threads, False
        net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = net.opt.use_bf16_storage = False
        if net.load_param(str(folder / self.file)) or net.load_model(str(folder / "model.ncnn.bin")):
            raise ValueError("ncnn does not read the files")
        inputs, outputs = net.input_names(), net.output_names()

        def run(arrays: Sequence[NDArray[Any]]) -> Arrays:
            with net.create_extractor() as extractor:
                for name, array in zip(inputs, arrays, strict=True):
                    extractor.input(name, ncnn.Mat(np.ascontiguousarray(array[0])).clone())
                return [np.array(extractor.extract(name)[1])[None] for name in outputs]

        return run


PNNX_TYPES = {"torch.float32": "f32", "torch.int64": "i64", "torch.uint8": "u8", "torch.int32": "i32"}
"""Types as pnnx writes them behind a shape."""
