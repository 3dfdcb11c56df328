"""torch as it is installed and switched in this process: version, threads, switches that change speed."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import torch

from accel.device.cpu.waiting_threads import user_spin
from accel.system.machine import Need

__all__ = ["FAULTS", "Fault", "TorchBuild", "faults_of", "read_torch"]


@dataclass(frozen=True)
class Fault:
    """Known fault of releases of torch that costs speed or memory.

    Args:
        first: the first version with it, such as `2.10.0`.
        fixed: the first version without it.
        plugins: that are all on where a run meets it.
        problem: what is slow.
        source: where it was measured and mended.
        mend: what helps with this version; empty for nothing but another one.
    """

    first: str
    fixed: str
    plugins: frozenset[str]
    problem: str
    source: str
    mend: str = ""


FAULTS = (
    Fault(
        "2.10.0", "2.12.0", frozenset({"compile", "recompute"}),
        "compiled models whose activations are computed anew can take a third more memory (14.5 GB in place of 11.0)",
        "https://github.com/pytorch/pytorch/issues/175058",
    ),
    Fault(
        "2.12.0", "2.13.0", frozenset({"fsdp", "optimizer"}),
        "torch's optimisers plan the sharding of weight lists anew in every update, and keep what they planned: updates get slower",
        "https://github.com/NVIDIA-NeMo/Automodel/pull/2888",
        "'plugins.optimizer.args={foreach:false}'",
    ),
)  # fmt: skip
"""Faults of releases that accel runs with; a new one is a row."""


@dataclass(frozen=True)
class TorchBuild:
    """torch in this process.

    Args:
        version: as torch tells it.
        cuda: version of CUDA that it was built for; empty for none.
        threads: of one operation on a CPU.
        spin: variables by which the user has said how long threads spin; empty for none.
        openmp: libraries of OpenMP that are loaded.
        products: precision of float32 matrix products: highest, high or medium.
        tf32: whether cuDNN's convolutions use TensorFloat-32.
        benchmark: whether cuDNN times its algorithms.
        deterministic: whether only deterministic algorithms are allowed.
        anomaly: whether anomaly detection is on.
        debug: whether it is a debug build.
        mkldnn: whether oneDNN computes for it on a CPU.
        compiler: why there is no C++ compiler for kernels and compile; empty if there is one.
    """

    version: str
    cuda: str
    threads: int
    spin: str
    openmp: tuple[str, ...]
    products: str
    tf32: bool
    benchmark: bool
    deterministic: bool
    anomaly: bool
    debug: bool
    mkldnn: bool
    compiler: str


def read_torch() -> TorchBuild:
    """Return torch as it is in this process now. CUDA is not initialised by that."""
    return TorchBuild(
        version=torch.__version__,
        cuda=torch.version.cuda or "",
        threads=torch.get_num_threads(),
        spin=user_spin(),
        openmp=_openmp_libraries(),
        products=torch.get_float32_matmul_precision(),
        tf32=_cudnn_tf32(),
        benchmark=torch.backends.cudnn.benchmark,
        deterministic=torch.are_deterministic_algorithms_enabled(),
        anomaly=torch.is_anomaly_enabled(),
        debug=bool(torch.version.debug),
        mkldnn=torch.backends.mkldnn.is_available(),  # type: ignore[no-untyped-call]
        compiler=Need("compiler").unmet_reason({}, "cpu") or "",
    )


def faults_of(version: str, plugins: Collection[str]) -> list[Fault]:
    """Return the known faults of a version of torch, such as `2.10.0+cu128`, that a run with some plugins meets."""
    now = _release(version)
    return [
        fault for fault in FAULTS if _release(fault.first) <= now < _release(fault.fixed) and fault.plugins <= frozenset(plugins)
    ]


def _release(version: str) -> tuple[int, ...]:
    """Return the numbers of a version.

    >>> _release("2.12.0a0+0291f960b6")
    (2, 12, 0)
    """
    return tuple(int(number) for number in re.findall(r"\d+", re.split(r"[^\d.]", version)[0]))


def _cudnn_tf32() -> bool:
    """Return cuDNN's switch; False where torch's two interfaces disagree, which raises."""
    try:
        return bool(torch.backends.cudnn.allow_tf32)
    except RuntimeError:
        return False


def _openmp_libraries() -> tuple[str, ...]:
    """Return the names of the libraries of OpenMP in this process, sorted; empty if the system does not tell."""
    try:
        maps = Path("/proc/self/maps").read_text()
    except OSError:
        return ()
    return tuple(sorted(set(re.findall(r"lib(gomp|iomp5|omp)\b[\w.-]*\.so", maps))))
