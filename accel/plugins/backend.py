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
from typing import Any, Literal, NamedTuple

import torch

from accel.parts import Backend as BackendPart
from accel.values import Count

__all__ = ["CUBLAS", "Backend", "Float32Switches"]

CUBLAS = "CUBLAS_WORKSPACE_CONFIG"
PARENTS = (("generic", "all"), ("cuda", "all"), ("mkldnn", "all"))
"""The switches that speak for all others that say nothing themselves, the widest first."""
CUDNN = (("cuda", "conv"), ("cuda", "rnn"))
PRODUCTS = (("cuda", "matmul"), ("mkldnn", "matmul"))


@dataclass(eq=False)
class Backend(BackendPart):
    """Global switches of torch.

    Args:
        cudnn_benchmark: let cuDNN time its algorithms and keep the fastest; off where deterministic is on.
        tf32: use TensorFloat-32 for float32 convolutions, recurrent layers of cuDNN and matrix products on CUDA.
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
        self.saved: dict[str, Any] = {
            "benchmark": torch.backends.cudnn.benchmark,
            "float32": Float32Switches.read(),
            "deterministic": torch.are_deterministic_algorithms_enabled(),
            "warn_only": torch.is_deterministic_algorithms_warn_only_enabled(),
            "threads": torch.get_num_threads(),
            "cublas": os.environ.get(CUBLAS),
        }
        if self.deterministic:
            os.environ.setdefault(CUBLAS, ":4096:8")  # read by cuBLAS when CUDA starts
        matmul = self.matmul_precision or ("high" if self.tf32 else "highest")
        self.saved["float32"].change(self.tf32, matmul)
        benchmark = self.cudnn_benchmark and not self.deterministic
        self._set(benchmark, self.deterministic, self.threads or torch.get_num_threads())

    def restore(self) -> None:
        if hasattr(self, "saved"):
            saved = self.saved
            self._set(saved["benchmark"], saved["deterministic"], saved["threads"])
            saved["float32"].restore()
            torch.use_deterministic_algorithms(saved["deterministic"], warn_only=saved["warn_only"])
            if saved["cublas"] is None:
                os.environ.pop(CUBLAS, None)

    def plan_notes(self) -> Mapping[str, str]:
        return {"threads": str(torch.get_num_threads()), "float32 products": torch.get_float32_matmul_precision()}

    def _set(self, benchmark: bool, deterministic: bool, threads: int) -> None:
        torch.backends.cudnn.benchmark = benchmark
        torch.use_deterministic_algorithms(deterministic)
        if threads != torch.get_num_threads():
            torch.set_num_threads(threads)


class Float32Switches(NamedTuple):
    """torch's switches for float32 products as they were found, in both of its interfaces (torch 2.9 to 2.14).

    The older one (`cudnn.allow_tf32`, `get_float32_matmul_precision`) raises where the newer one (`fp32_precision`) says
    something else: a convolution beside a recurrent layer, say. So both are set, and to the same.
    """

    parents: list[str]
    cudnn: list[str]
    products: list[str]
    allow_tf32: bool
    """The older switch of cuDNN."""
    matmul: str
    """The older switch of matrix products."""

    @classmethod
    def read(cls) -> Float32Switches:
        """Return the switches, each as it is set itself, and leave them as they are."""
        parents = []
        for name in PARENTS:
            parents.append(torch._C._get_fp32_precision_getter(*name))
            torch._C._set_fp32_precision_setter(*name, "none")
        cudnn, products = ([torch._C._get_fp32_precision_getter(*name) for name in names] for names in (CUDNN, PRODUCTS))
        try:
            allow_tf32 = torch._C._get_cudnn_allow_tf32()
        except RuntimeError:  # the newer switches say something else, or differ: then that of convolutions is likely to have moved
            allow_tf32 = (cudnn[1] == "tf32") == (cudnn[0] != cudnn[1])
        _set(PRODUCTS, ["none"] * len(PRODUCTS))  # beside others that differ, the older one would not be told
        matmul = torch.get_float32_matmul_precision()
        _set(PRODUCTS, products)
        _set(PARENTS, parents)
        return cls(parents, cudnn, products, allow_tf32, matmul)

    def change(self, tf32: bool, matmul: str) -> None:
        """Set all of them.

        Args:
            tf32: whether cuDNN's convolutions and recurrent layers use TensorFloat-32.
            matmul: precision of matrix products: highest, high or medium.
        """
        cudnn = ["tf32" if tf32 else "ieee"] * len(CUDNN)
        if self.allow_tf32 != tf32 or [torch._C._get_fp32_precision_getter(*name) for name in CUDNN] != cudnn:
            torch._C._set_cudnn_allow_tf32(tf32)
            _set(CUDNN, cudnn)
        torch.set_float32_matmul_precision(matmul)

    def restore(self) -> None:
        """Set all of them as they were found."""
        if Float32Switches.read() == self:  # torch's own default of cuDNN is weaker than the same one set, so it is left alone
            return
        torch._C._set_cudnn_allow_tf32(self.allow_tf32)
        torch.set_float32_matmul_precision(self.matmul)
        _set(CUDNN, self.cudnn)
        _set(PRODUCTS, self.products)
        _set(PARENTS, self.parents)


def _set(names: tuple[tuple[str, str], ...], precisions: list[str]) -> None:
    """Set switches of the newer interface."""
    for name, precision in zip(names, precisions, strict=True):
        torch._C._set_fp32_precision_setter(*name, precision)
