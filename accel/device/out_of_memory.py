"""Errors that say that memory is short, and letting go of what they hold."""

from __future__ import annotations

import gc
import traceback

import torch

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
    "MPS backend out of memory",
)
"""What stands in a RuntimeError where memory was short; torch has a class of its own only for what its caching allocator raises."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory is short, on a device or on the host."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and not isinstance(error, TrainingError) and any(said in str(error) for said in MESSAGES)


def release_frames(error: BaseException) -> str:
    """Frees what the frames of an error and of those before it hold (the tensors of a forward pass); returns what it says.

    Call it inside `except`, and `collect` outside: until then the error itself is alive.
    """
    said = str(error).strip().split("\n")[0].split(". ")[0][:200] or type(error).__name__
    link: BaseException | None = error
    seen = set[int]()
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        traceback.clear_frames(link.__traceback__)
        link = link.__cause__ or link.__context__
    return said


def free_cached_memory(device: torch.device) -> None:
    """Frees what hangs together in circles, and hands the blocks that nothing uses back to the device, to be cut anew."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
