"""Memory of the host that is pinned as it is, to its exact size: torch's own pinned memory is rounded up to powers of two.

Where CUDA refuses (a container's limit on locked memory, say), the memory stays as it was, copies from it are waited for, and the
user is told. CUDA keeps the last error of each thread until somebody asks, and torch would raise it at its next kernel.
"""

from __future__ import annotations

import mmap
from contextlib import suppress
from typing import Any
from weakref import finalize

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from accel.system.call_stack import warn_user

__all__ = ["ALIGNMENT", "PinnedArena", "clear_last_error", "pin", "space_for", "warn_unpinned"]

ALIGNMENT = 64
"""Bytes to whose multiples tensors in an arena are aligned: a line of a cache."""


def pin(memory: NDArray[Any]) -> str:
    """Pin existing memory, until it is gone. Return why CUDA refuses, in words; empty if the memory is pinned.

    Args:
        memory: the array that all views of the memory refer to.
    """
    runtime: Any = torch.cuda.cudart()  # type: ignore[no-untyped-call]
    error = runtime.cudaHostRegister(memory.ctypes.data, memory.nbytes, 0)
    if int(error) != 0:
        clear_last_error()
        return str(runtime.cudaGetErrorString(error))
    finalize(memory, _unpin, runtime, memory.ctypes.data).atexit = False
    return ""


def warn_unpinned(user: str, size: int, reason: str) -> None:
    """Warn, once a run, that CUDA has refused to pin memory.

    Args:
        user: whose memory it is, in words.
        size: of the memory, in bytes.
        reason: CUDA's own.
    """
    warn_user(
        f"{user}: CUDA refuses to pin {max(size, 1 << 20) >> 20} MB of memory ({reason}); copies go on without, and are waited "
        "for; raise the limit on locked memory (ulimit -l; docker run --ulimit memlock=-1)"
    )


def clear_last_error() -> None:
    """Make CUDA forget the last error of this thread. A kernel that does nothing looks for one, takes it away, and raises it."""
    with suppress(RuntimeError):
        torch.cuda._sleep(0)  # type: ignore[no-untyped-call]


def _unpin(runtime: Any, address: int) -> None:
    """Unpin the memory at `address`."""
    with suppress(RuntimeError):
        if int(runtime.cudaHostUnregister(address)) != 0:
            clear_last_error()


def space_for(tensor: Tensor) -> int:
    """Return the bytes that a tensor takes in an arena."""
    return -(-tensor.numel() * tensor.element_size() // ALIGNMENT) * ALIGNMENT


class PinnedArena:
    """One stretch of pinned memory, which tensors are laid into one after the other, and again after `reset`.

    Args:
        size: in bytes; whole pages are taken.
    """

    def __init__(self, size: int) -> None:
        page = mmap.PAGESIZE
        self.memory: NDArray[np.uint8] = np.frombuffer(mmap.mmap(-1, max(page, -(-size // page) * page)), np.uint8)
        self.size, self.used = len(self.memory), 0
        self.refusal = pin(self.memory)
        """Why CUDA refuses to pin it; empty if it is pinned."""

    def reset(self) -> None:
        """Begin at the start again: what was laid into it is written over."""
        self.used = 0

    def place(self, tensor: Tensor) -> Tensor:
        """Return room for a tensor, of its shape, dtype and memory order, with a storage of its own.

        Raises:
            ValueError: if there is no room for it.
        """
        end = self.used + tensor.numel() * tensor.element_size()
        if end > self.size:
            raise ValueError(f"an arena of {self.size} bytes has no room for {end}")
        strides = torch.empty_like(tensor, device="meta", memory_format=torch.preserve_format).stride()
        room = torch.from_numpy(self.memory[self.used : end]).view(tensor.dtype).as_strided(tensor.shape, strides)
        self.used += space_for(tensor)
        return room
