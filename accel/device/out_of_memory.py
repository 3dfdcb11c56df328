"""Errors that say that memory is short, and freeing the memory that they hold."""

from __future__ import annotations

import gc
import traceback

import torch

from accel.device.accelerators.runtime import empty_cache
from accel.errors import TrainingError

__all__ = ["MESSAGES", "free_cached_memory", "is_out_of_memory", "release_frames"]

MESSAGES = (
    "DefaultCPUAllocator: not enough memory",
    "DefaultCPUAllocator: can't allocate memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUSOLVER_STATUS_ALLOC_FAILED",
    "CUSPARSE_STATUS_ALLOC_FAILED",
    "CUDA error: out of memory",
    "XPU out of memory",
    "MPS backend out of memory",
)
"""Texts in a RuntimeError that say that memory is short; torch's own class is raised by its caching allocator only."""


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory is short, on a device or on the host."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return (
        isinstance(error, RuntimeError)
        and not isinstance(error, TrainingError)
        and any(message in str(error) for message in MESSAGES)
    )


def release_frames(error: BaseException) -> str:
    """Free the objects that the frames of an error hold, such as the tensors of a forward pass, and return its first sentence.

    The frames of the errors that led to it are freed too. Call it inside `except`, and `free_cached_memory` outside: until then
    the error itself is alive.
    """
    sentence = str(error).strip().split("\n")[0].split(". ")[0][:200] or type(error).__name__
    link: BaseException | None = error
    seen = set[int]()
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        traceback.clear_frames(link.__traceback__)
        link = link.__cause__ or link.__context__
    return sentence


def free_cached_memory(device: torch.device) -> None:
    """Free objects that refer to each other in circles, and return unused cached blocks of memory to the device."""
    gc.collect()
    empty_cache(device)
