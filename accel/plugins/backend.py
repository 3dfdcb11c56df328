"""Backend: torch's global switches, set for one run and then restored.

Helps   CUDA: TensorFloat-32 multiplies float32 matrices up to 8 times faster,
        and cuDNN picks its fastest convolution.
Hurts   precision: TF32 keeps 10 bits of mantissa in products. Benchmark mode
        tries algorithms anew for every new input shape.
Costs   nothing per step.
Source  https://pytorch.org/docs/stable/notes/cuda.html and
        https://pytorch.org/docs/stable/notes/randomness.html
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch

from accel.parts import Backend as BackendPart
from accel.values import Count

__all__ = ["CUBLAS", "Backend"]

CUBLAS = "CUBLAS_WORKSPACE_CONFIG"


@dataclass(eq=False)
class Backend(BackendPart):
    """Global switches of torch.

    Args:
        cudnn_benchmark: let cuDNN time its algorithms and keep the fastest; off where deterministic is on.
        tf32: use TensorFloat-32 for float32 convolutions and matrix products on CUDA.
        matmul_precision: precision of float32 matrix products on any device (medium may use bfloat16); null follows tf32.
        deterministic: use only algorithms that give the same bits every time; an operation without one raises.
        threads: CPU threads of one operation; null leaves torch's choice.
    """

    cudnn_benchmark: bool = True
    tf32: bool = True
    matmul_precision: Literal["highest", "high", "medium"] | None = None
    deterministic: bool = False
    threads: Count | None = None

    def apply(self, device: torch.device) -> None:
        self.saved = {
            "benchmark": torch.backends.cudnn.benchmark,
            "conv": _conv().fp32_precision,
            "matmul": torch.get_float32_matmul_precision(),
            "deterministic": torch.are_deterministic_algorithms_enabled(),
            "warn_only": torch.is_deterministic_algorithms_warn_only_enabled(),
            "threads": torch.get_num_threads(),
            "cublas": os.environ.get(CUBLAS),
        }
        if self.deterministic:
            os.environ.setdefault(CUBLAS, ":4096:8")  # read by cuBLAS when CUDA starts
        matmul = self.matmul_precision or ("high" if self.tf32 else "highest")
        benchmark, conv = self.cudnn_benchmark and not self.deterministic, "tf32" if self.tf32 else "ieee"
        self._set(benchmark, conv, matmul, self.deterministic, self.threads or torch.get_num_threads())

    def restore(self) -> None:
        if hasattr(self, "saved"):
            saved = self.saved
            self._set(saved["benchmark"], saved["conv"], saved["matmul"], saved["deterministic"], saved["threads"])
            torch.use_deterministic_algorithms(saved["deterministic"], warn_only=saved["warn_only"])
            if saved["cublas"] is None:
                os.environ.pop(CUBLAS, None)

    def plan_notes(self) -> Mapping[str, str]:
        return {"threads": str(torch.get_num_threads()), "float32 products": torch.get_float32_matmul_precision()}

    def _set(self, benchmark: bool, conv: str, matmul: str, deterministic: bool, threads: int) -> None:
        torch.backends.cudnn.benchmark = benchmark
        _conv().fp32_precision = conv
        torch.set_float32_matmul_precision(matmul)
        torch.use_deterministic_algorithms(deterministic)
        if threads != torch.get_num_threads():
            torch.set_num_threads(threads)


def _conv() -> Any:
    """Return the module in which torch keeps the precision of cuDNN's convolutions (it has no types)."""
    return torch.backends.cudnn.conv  # type: ignore[attr-defined]
