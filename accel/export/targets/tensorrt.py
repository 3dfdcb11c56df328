"""tensorrt: NVIDIA's engine, which is built on the GPU that runs it."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from numpy.typing import NDArray

from accel.export.quantisation.variant import Variant
from accel.export.target import Arrays, Runner
from accel.export.targets import build_engine
from accel.export.targets.onnx import Onnx

if TYPE_CHECKING:
    from torch import nn

    from accel.export.example import Example

__all__ = ["TensorRt"]

LARGEST = 256
"""Samples of the largest batch that a loaded engine takes."""


@dataclass
class TensorRt(Onnx):
    """NVIDIA's engine, by way of an ONNX file, whose numbers it has. It is built where it is loaded: another GPU has another.

    TensorRT 11 takes the types of the file as they are, and no calibration cache: 8 bits have their scales in the file.

    Source: https://docs.nvidia.com/deeplearning/tensorrt.
    """

    name: ClassVar[str] = "tensorrt"
    about: ClassVar[str] = "NVIDIA's engine, built on its GPU"
    extra: ClassVar[str] = "export-tensorrt"
    runs_with: ClassVar[tuple[str, ...]] = ("tensorrt",)
    lives_apart: ClassVar[bool] = True
    distributions: ClassVar[tuple[str, ...]] = ("tensorrt", "onnx", "onnxscript")
    variants: ClassVar[Mapping[Variant, float]] = {"float16": 5e-3}
    has_consumer: ClassVar[bool] = False

    def build(self, model: nn.Module, example: Example, folder: Path) -> None:
        super().build(model, example, folder)
        (folder / "build_engine.py").write_bytes(Path(build_engine.__file__).read_bytes())

    @classmethod
    def cannot_run(cls) -> str:
        try:
            ctypes.CDLL("libcuda.so.1")
        except OSError:
            return "target=tensorrt needs a CUDA device to run: build_engine.py makes the engine of model.onnx where there is one"
        return ""

    def load(self, folder: Path, threads: int) -> Runner:
        import tensorrt
        import torch

        plan = build_engine.build_engine(folder / self.file, LARGEST)
        engine = tensorrt.Runtime(tensorrt.Logger(tensorrt.Logger.ERROR)).deserialize_cuda_engine(plan)
        context = engine.create_execution_context()
        names = [engine.get_tensor_name(place) for place in range(engine.num_io_tensors)]
        given = [name for name in names if engine.get_tensor_mode(name) == tensorrt.TensorIOMode.INPUT]
        types = {name: getattr(torch, tensorrt.nptype(engine.get_tensor_dtype(name)).__name__) for name in names}

        def run(arrays: Sequence[NDArray[Any]]) -> Arrays:
            tensors = {name: torch.from_numpy(array).cuda() for name, array in zip(given, arrays, strict=True)}
            for name, tensor in tensors.items():
                context.set_input_shape(name, tuple(tensor.shape))
            for name in names:
                shape = tuple(context.get_tensor_shape(name))
                tensor = tensors.setdefault(name, torch.empty(shape, dtype=types[name], device="cuda"))
                context.set_tensor_address(name, tensor.data_ptr())
            stream = torch.cuda.current_stream()
            context.execute_async_v3(stream.cuda_stream)
            stream.synchronize()
            return [tensors[name].cpu().numpy() for name in names if name not in given]

        return run
