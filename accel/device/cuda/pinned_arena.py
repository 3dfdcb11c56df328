"""Arena of pinned memory, for tensors that are copied to the host together."""

from __future__ import annotations

import mmap

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from accel.device.cuda.pinned_memory import PinnedMemory

__all__ = ["ALIGNMENT", "PinnedArena", "space_for"]

ALIGNMENT = 64
"""Bytes to whose multiples tensors in an arena are aligned: a line of a cache."""


def space_for(tensor: Tensor) -> int:
    """Return the bytes that a tensor takes in an arena."""
    return -(-tensor.numel() * tensor.element_size() // ALIGNMENT) * ALIGNMENT


class PinnedArena:
    """One stretch of pinned memory, which tensors are laid into one after the other, and again after `reset`.

    Args:
        size: in bytes; whole pages are taken.
        pinned: pins it.
    """

    def __init__(self, size: int, pinned: PinnedMemory) -> None:
        page = mmap.PAGESIZE
        self.memory: NDArray[np.uint8] = np.frombuffer(mmap.mmap(-1, max(page, -(-size // page) * page)), np.uint8)
        self.size, self.used = len(self.memory), 0
        pinned.register(self.memory)

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
