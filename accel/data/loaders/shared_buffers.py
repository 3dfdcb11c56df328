"""The memory of batches, in reach of several processes: one hands a slot's number over, and nobody a pixel."""

from __future__ import annotations

import mmap
import os
from contextlib import suppress
from math import prod
from multiprocessing.reduction import DupFd
from typing import Any
from weakref import finalize

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from accel.data.loaders.buffer_pool import BufferPool
from accel.system.anonymous_file import anonymous_file

__all__ = ["FIRST", "Region", "SharedBufferPool", "register"]

FIRST = 16
"""Slots that are mapped at once; then as many again, and again. What is mapped takes no memory before it is written to."""


class Region:
    """Slots of one shape by their numbers, in this process and in those that it is given to: forked ones, or as they are spawned.

    It has no name, so that nothing is left of it when the last of them is gone, however they end.
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
        return _again, (self.shape, self.dtype, DupFd(self.fd))

    def slot(self, number: int) -> NDArray[Any]:
        """The memory of a slot, `shape` of `dtype`; the same in every process."""
        block = (number // FIRST).bit_length()
        first = FIRST << block - 1 if block else 0
        if block not in self.blocks:
            count = first or FIRST
            size = (first + count) * self.stride
            if os.fstat(self.fd).st_size < size:
                os.ftruncate(self.fd, size)
            memory = mmap.mmap(self.fd, count * self.stride, offset=first * self.stride)
            self.blocks[block] = np.frombuffer(memory, np.uint8).reshape(count, self.stride)
        return self.blocks[block][number - first, : self.bytes].view(self.dtype).reshape(self.shape)


class SharedBufferPool(BufferPool):
    """Slots that other processes write into.

    Args:
        shape, dtype, pin: as of `BufferPool`.
    """

    def __init__(self, shape: tuple[int, ...], dtype: Any, pin: bool) -> None:
        super().__init__(shape, dtype, pin)
        self.region = Region(shape, self.dtype)
        self.numbers: dict[int, int] = {}

    def make(self) -> NDArray[Any]:
        slot = self.region.slot(self.made)
        self.numbers[slot.ctypes.data] = self.made
        if self.pin:
            register(slot)
        return slot

    def number(self, batch: Tensor) -> int:
        """Of the slot that a borrowed tensor lies in."""
        return self.numbers[batch.data_ptr()]


def register(slot: NDArray[Any]) -> None:
    """Pins memory that is there already, where CUDA can; it is let go before it is unmapped."""
    runtime: Any = torch.cuda.cudart()  # type: ignore[no-untyped-call]
    if int(runtime.cudaHostRegister(slot.ctypes.data, slot.nbytes, 0)) == 0:
        finalize(slot, _unregister, runtime, slot.ctypes.data).atexit = False


def _unregister(runtime: Any, address: int) -> None:
    with suppress(RuntimeError):
        runtime.cudaHostUnregister(address)


def _again(shape: tuple[int, ...], dtype: np.dtype[Any], passed: Any) -> Region:
    return Region(shape, dtype, passed.detach())
