"""Which libraries have a stand-in, and what each is made of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["LIBRARIES", "NATIVE", "PRELOADED", "Library"]

NATIVE = Path(__file__).parent / "native"
RUNTIME = "libcudart.so.13"


@dataclass(frozen=True)
class Library:
    """A library of NVIDIA's for which there is a stand-in.

    Args:
        name: its file, which is its soname too.
        sources: files of `native/`, with the functions that do something.
        names: the file in the wheels whose functions it must have: a library, whose symbols are read, or a header.
        pattern: of the names of functions.
        result: what the functions return that `sources` leave out.
        counted: the pattern of those functions that count as the launch of a kernel.
        links: calls functions of the runtime's stand-in.
        version: whether its symbols have the soname as their version, as those of the library that torch was linked with.
        preloaded: loaded before torch. The others are loaded by their name.
    """

    name: str
    sources: tuple[str, ...]
    names: str = ""
    pattern: str = ""
    result: int = 0
    counted: str = "$^"
    links: bool = False
    version: bool = True
    preloaded: bool = True


LIBRARIES: list[Library] = [
    Library(
        RUNTIME,
        ("settings.cpp", "lock.cpp", "counters.cpp", "streams.cpp", "events.cpp", "memory.cpp", "copies.cpp", "captures.cpp",
         "launches.cpp", "devices.cpp"),
        names=f"lib/{RUNTIME}", pattern=r"_*cuda\w+", result=801,
    ),
    Library(
        "libcublas.so.13", ("cublas.cpp",), names="lib/libcublas.so.13", pattern=r"cublas\w+",
        counted=r"\w*(emm|emv|dot|nrm2|axpy|scal)\w*", links=True,
    ),
    Library(
        "libcublasLt.so.13", ("cublas_lt.cpp",), names="lib/libcublasLt.so.13", pattern=r"cublas\w+",
        counted=r"cublasLtMatmul", links=True,
    ),
    Library("libcupti.so.13", ("cupti.cpp",), names="lib/libcupti.so.13", pattern=r"cupti\w+", result=15),
    Library(
        "libnccl.so.2", ("nccl.cpp", "communicator.cpp"),
        names="../nccl/lib/libnccl.so.2", pattern=r"nccl[A-Z]\w+", result=5, links=True, version=False,
    ),
    Library("libcuda.so.1", ("cuda_driver.cpp",), names="include/cuda.h", pattern=r"cu[A-Z]\w+", version=False, preloaded=False),
    Library("libnvidia-ml.so.1", ("nvml.cpp",), version=False, preloaded=False),
]  # fmt: skip
"""The runtime comes first: the others are linked with it."""

PRELOADED = [library.name for library in LIBRARIES if library.preloaded]
