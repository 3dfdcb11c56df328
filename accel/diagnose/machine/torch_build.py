"""torch as it is installed and switched in this process: version, threads, switches that change speed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import torch

from accel.device.cpu.waiting_threads import user_spin
from accel.system.machine import Need

__all__ = ["FAULTS", "Fault", "TorchBuild", "fault_of", "read_torch"]


@dataclass(frozen=True)
class Fault:
    """Known fault of a release of torch that costs speed or memory.

    Args:
        release: the version, such as `2.9.0`.
        problem: what is slow.
        fixed: the first version without it.
    """

    release: str
    problem: str
    fixed: str


FAULTS = (Fault("2.9.0", "3-d convolutions in bfloat16 take several times the memory on CUDA (pytorch issue 166643)", "2.9.1"),)
"""Faults of releases that a run may meet; a new one is a row."""


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


def fault_of(version: str) -> Fault | None:
    """Return the known fault of a version of torch, such as `2.9.0+cu128`; None if there is none."""
    release = version.partition("+")[0]
    return next((fault for fault in FAULTS if fault.release == release), None)


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
