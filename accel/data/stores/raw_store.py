"""Reading a raw store: pixels in one memory-mapped file."""

from __future__ import annotations

import mmap
import os
from collections.abc import Sequence
from struct import Struct
from typing import ClassVar
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from accel.data.stores.index import About, Index
from accel.data.stores.packed_store import Packed
from accel.data.stores.record_format import HEAD
from accel.errors import ConfigError

__all__ = ["HEADER", "SIGNATURE", "START", "RawStore", "header", "table"]

HEADER = Struct("<8sIQQQQ")
"""Signature; crc32 of what follows; where the index begins, its bytes, the bytes of what it says of itself, of the file."""
SIGNATURE = b"accelraw"
START = 4096
"""Where the first record begins."""


def header(about_at: int, index: int, about: int) -> bytes:
    """The first bytes of a finished file, whose index begins at `about_at` and is followed by `about` bytes of json."""
    numbers = HEADER.pack(SIGNATURE, 0, about_at, index, about, about_at + index + about)[12:]
    return SIGNATURE + crc32(numbers).to_bytes(4, "little") + numbers


def table(data: memoryview, starts: NDArray[np.uint64]) -> NDArray[np.void] | None:
    """Heads and pixels, (records,), without a copy; None where the records are of different lengths."""
    if not len(starts) or len(starts) * HEAD.size > len(data):
        return None
    length, last = (HEAD.unpack_from(data, int(start))[5] for start in (starts[0], starts[-1]))
    if length != last or (np.diff(starts) != HEAD.size + length).any():
        return None
    row = np.dtype([("head", "u1", 8), ("height", "<u4"), ("width", "<u4"), ("rest", "u1", 16), ("pixels", "u1", length)])
    return np.ndarray(len(starts), row, data, int(starts[0]))


class RawStore(Packed):
    """The records of a raw file: pixels as they are, (height, width, 3) uint8, of any size each."""

    format: ClassVar[str] = "raw"

    def open(self) -> tuple[About, Index]:
        try:
            with open(self.path, "rb") as file:
                first, have = file.read(HEADER.size), os.fstat(file.fileno()).st_size
                at, index, about = self._places(first, have)
                self.file, self.have = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), have
                self.map = memoryview(self.file)
        except OSError as error:
            raise ConfigError(f"cannot open the store {self.path}: {error.strerror}") from None
        said = self.map[at + index : at + index + about]
        found = Index.load(self.map[at : at + index], said, self.path)
        self.starts = found.offsets
        self.table = table(self.map, self.starts)
        return About.load(said, self.path), found

    def _places(self, first: bytes, have: int) -> tuple[int, int, int]:
        """Where things are. The length is looked at before the file is mapped: a page that is missing would be a SIGBUS."""
        if len(first) < HEADER.size or first[:8] != SIGNATURE:
            raise ConfigError(f"{self.path} is no raw store, or was never finished; pack the data set again")
        _, crc, at, index, about, size = HEADER.unpack(first)
        if crc32(first[12:]) != crc:
            raise ConfigError(f"the header of the store {self.path} is damaged: its crc32 differs; copy or pack it again")
        if have != size:
            raise ConfigError(f"the store {self.path} is cut short: it has {have:,} bytes of {size:,}; copy or pack it again")
        return at, index, about

    def sealed(self, index: int) -> memoryview:
        self.stands(self.file, self.have)
        start = int(self.starts[index])
        return self.map[start : start + HEAD.size + HEAD.unpack_from(self.map, start)[5]]

    @property
    def size(self) -> tuple[int, int] | None:
        """Height and width of all pictures, in pixels, where the records are of one length and the first speaks for them."""
        if not len(self) or self.table is None:
            return None
        first = self.table[0]
        return int(first["height"]), int(first["width"])

    def gather(self, indices: Sequence[int]) -> NDArray[np.uint8]:
        """Several pictures at once, (n, height, width, 3), copied; where `size` is not None.

        Raises:
            ConfigError: where one is damaged, or of another shape.
        """
        assert self.table is not None
        places, (height, width) = np.asarray(indices), self.size or (0, 0)
        for index in places[np.frombuffer(self._checked, np.uint8)[places] == 0].tolist():
            self.get(index)
        self.stands(self.file, self.have)
        found = self.table[places]
        if (found["height"] != height).any() or (found["width"] != width).any():
            raise ConfigError(f"the pictures of {self.path} are not all of {height} x {width} pixels")
        pixels: NDArray[np.uint8] = found["pixels"].reshape(-1, height, width, 3)
        return pixels

    def close(self) -> None:
        if self._opened is not None:
            self._opened = self.table = None
            del self.file, self.map  # unmapped when the last view of it is gone
