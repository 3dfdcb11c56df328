"""Pool of memory for batches that several processes reach: they exchange a slot's number, and no pixels."""

from __future__ import annotations

import mmap
import os
from math import prod
from multiprocessing.reduction import DupFd
from typing import Any
from weakref import finalize

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from accel.data.loaders.buffer_pool import BufferPool
from accel.system.anonymous_file import anonymous_file

__all__ = ["FIRST_BLOCK", "Region", "SharedBufferPool"]

FIRST_BLOCK = 16
"""Slots that are mapped together; then as many again, twice as many, and so on. A page takes no memory until it is written."""


class Region:
    """Slots of one shape by their numbers, in this process and in all that were forked from it or to which it was pickled.

    It has no name, so nothing is left of it when the last of these processes is gone, however they end.

    Args:
        shape: of a slot.
        dtype: of a slot.
        fd: the descriptor of its memory; None makes new memory.
    """

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any], fd: int | None = None) -> None:
        self.shape, self.dtype = shape, dtype
        self.fd = anonymous_file("slots") if fd is None else fd
        finalize(self, os.close, self.fd)
        self.bytes = prod(shape) * dtype.itemsize
        page = mmap.ALLOCATIONGRANULARITY
        self.stride = max(page, -(-self.bytes // page) * page)
        self.blocks: dict[int, NDArray[np.uint8]] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild_region, (self.shape, self.dtype, DupFd(self.fd))

    def slot(self, number: int) -> NDArray[Any]:
        """Return the memory of a slot, `shape` of `dtype`; the same in every process."""
        block = (number // FIRST_BLOCK).bit_length()
        first = FIRST_BLOCK << block - 1 if block else 0
        if block not in self.blocks:
            count = first or FIRST_BLOCK
            size = (first + count) * self.stride
            if os.fstat(self.fd).st_size < size:
                os.ftruncate(self.fd, size)
            memory = mmap.mmap(self.fd, count * self.stride, offset=first * self.stride)
            self.blocks[block] = np.frombuffer(memory, np.uint8).reshape(count, self.stride)
        return self.blocks[block][number - first, : self.bytes].view(self.dtype).reshape(self.shape)


class SharedBufferPool(BufferPool):
    """Pool of slots that other processes write into.

    Args:
        shape: of a full batch.
        dtype: numpy's.
        pin: whether a CUDA device may read a slot while the host goes on.
    """

    reader = "workers"

    def __init__(self, shape: tuple[int, ...], dtype: Any, pin: bool) -> None:
        super().__init__(shape, dtype, pin)
        self.region = Region(shape, self.dtype)
        self.numbers: dict[int, int] = {}

    def allocate(self) -> NDArray[Any]:
        slot = self.region.slot(self.allocated)
        self.numbers[slot.ctypes.data] = self.allocated
        if self.pinned is not None:
            self.pinned.register(slot)
        return slot

    def slot_number(self, batch: Tensor) -> int:
        """Return the number of the slot that a borrowed tensor lies in."""
        return self.numbers[batch.data_ptr()]


def _rebuild_region(shape: tuple[int, ...], dtype: np.dtype[Any], passed: Any) -> Region:
    """Return the region of another process, in the process to which it was sent."""
    return Region(shape, dtype, passed.detach())
