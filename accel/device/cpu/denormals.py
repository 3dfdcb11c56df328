"""Denormal numbers, which are computed a hundred times slower than others: taken as zero, in all threads that compute.

The switch is a register of each thread. `torch.set_flush_denormal` sets that of the calling thread, in which the backward pass
of a CPU runs too. A thread begins with the switch of the one that started it. OpenMP's threads are there already, and are told one
by one.
"""

from __future__ import annotations

import ctypes
import re
from pathlib import Path
from typing import Any

import torch

__all__ = ["MAPS", "flush_denormals", "flushes_denormals", "openmp_library"]

MAPS = Path("/proc/self/maps")
TINY = 1e-40
"""A denormal number of float32."""


def flush_denormals(on: bool) -> bool:
    """Set whether denormal numbers are taken as zero, in this thread and in OpenMP's that help it; False if the CPU cannot.

    Where OpenMP's threads cannot be reached (macOS, Windows), it holds for this thread and those that begin later.
    """
    if not torch.set_flush_denormal(on):
        return False
    library, threads = openmp_library(), torch.get_num_threads()
    if library is not None and threads > 1:

        def tell(_: object) -> None:
            torch.set_flush_denormal(on)

        each = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(tell)
        library.GOMP_parallel(each, None, ctypes.c_uint(threads), ctypes.c_uint(0))  # waits for all of them
    return True


def flushes_denormals() -> bool:
    """Return whether this thread takes denormal numbers as zero."""
    return not bool(torch.tensor([TINY], device="cpu").mul(1.0).ne(0.0))


def openmp_library() -> Any:
    """Return the OpenMP library that torch has loaded, if GNU's entry points can be called in it; else None."""
    try:
        paths = re.findall(r"(/\S*/lib(?:gomp|iomp5|omp)[^/\s]*\.so\S*)$", MAPS.read_text(), re.MULTILINE)
    except OSError:
        return None
    paths.sort(key=lambda path: "/torch" not in path)  # other packages may bring a copy of their own
    library = ctypes.CDLL(paths[0]) if paths else None
    return library if hasattr(library, "GOMP_parallel") else None
