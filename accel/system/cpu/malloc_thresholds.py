"""Thresholds of glibc's allocator: which blocks are mapped apart, and when free memory goes back to the system.

Source: mallopt(3) and malloc/malloc.c of glibc.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from typing import Any

__all__ = [
    "LARGEST_MMAP_THRESHOLD", "MMAP_MAX", "MMAP_THRESHOLD", "TOP_PAD", "TRIM_THRESHOLD", "moving_thresholds", "set_thresholds",
    "trim",
]  # fmt: skip

TRIM_THRESHOLD, TOP_PAD, MMAP_THRESHOLD, MMAP_MAX = -1, -2, -3, -4
"""Numbers of mallopt's parameters (malloc.h of glibc)."""
LARGEST_MMAP_THRESHOLD = 32 * 2**20
"""Bytes up to which glibc moves its threshold by itself."""
SMALLEST_MMAP_THRESHOLD, PRECISION = 128 * 2**10, 4096
IS_MAPPED, FLAGS, WORD = 0b010, 0b111, ctypes.sizeof(ctypes.c_size_t)
"""Bit of a block's size that says it was mapped apart, all such bits, and the bytes of a size."""


def set_thresholds(thresholds: Mapping[int, int]) -> bool:
    """Set thresholds of glibc, after which none moves by itself; return whether it took all."""
    mallopt = ctypes.CDLL(None).mallopt
    taken = [mallopt(ctypes.c_int(name), ctypes.c_int(value)) == 1 for name, value in thresholds.items()]  # each is tried
    return all(taken)


def moving_thresholds() -> dict[int, int]:
    """Return the thresholds that have moved by themselves, as they are now.

    A block that was mapped apart and is freed takes the threshold to its own size, up to `LARGEST_MMAP_THRESHOLD`; memory is given
    back when twice as much is free at the end of the heap. glibc tells neither: blocks of several sizes are allocated, untouched.
    """
    low, high = SMALLEST_MMAP_THRESHOLD, LARGEST_MMAP_THRESHOLD
    libc = _library()
    while high - low > PRECISION:
        middle = (low + high) // 2
        low, high = (low, middle) if _is_mapped(libc, middle) else (middle, high)
    return {MMAP_THRESHOLD: high, TRIM_THRESHOLD: 2 * high}


def trim() -> None:
    """Give to the system what is free."""
    ctypes.CDLL(None).malloc_trim(ctypes.c_size_t(0))


def _library() -> Any:
    libc: Any = ctypes.CDLL(None)
    libc.malloc.argtypes, libc.malloc.restype = (ctypes.c_size_t,), ctypes.c_void_p
    libc.free.argtypes, libc.munmap.argtypes = (ctypes.c_void_p,), (ctypes.c_void_p, ctypes.c_size_t)
    return libc


def _is_mapped(libc: Any, size: int) -> bool:
    """Return whether a block of `size` bytes is mapped apart. It is unmapped by hand: to free it would move the threshold."""
    block = libc.malloc(size)
    if block is None:
        return True
    head = ctypes.c_size_t.from_address(block - WORD).value
    if not head & IS_MAPPED:
        libc.free(block)
        return False
    before = ctypes.c_size_t.from_address(block - 2 * WORD).value  # bytes of the mapping in front of the block
    libc.munmap(block - 2 * WORD - before, (head & ~FLAGS) + before)
    return True
