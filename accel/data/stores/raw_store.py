"""Raw store: decoded pixels in one memory-mapped file.

The file: a header; records from byte 4096 on (`record_format`); the index (`index`); the store's JSON (`store_info`).
The header, little endian: 8 bytes `accelraw`; uint32 crc32 of the rest of the header; uint64 offset of the index, bytes of the
index, bytes of the JSON, bytes of the file.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Sequence
from struct import Struct
from typing import ClassVar
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from accel.data.stores.index import RecordIndex
from accel.data.stores.packed_store import PackedStore
from accel.data.stores.record_format import HEAD
from accel.data.stores.store_info import StoreInfo
from accel.errors import ConfigError

__all__ = ["HEADER", "RECORDS_OFFSET", "SIGNATURE", "RawStore", "pack_header", "record_table"]

HEADER = Struct("<8sIQQQQ")
SIGNATURE = b"accelraw"
RECORDS_OFFSET = 4096
"""Offset of the first record, in bytes."""


def pack_header(offset: int, index: int, info: int) -> bytes:
    """Return the header of a finished file.

    Args:
        offset: Offset of the index, in bytes.
        index: Bytes of the index.
        info: Bytes of the JSON behind it.
    """
    numbers = HEADER.pack(SIGNATURE, 0, offset, index, info, offset + index + info)[12:]
    return SIGNATURE + crc32(numbers).to_bytes(4, "little") + numbers


def record_table(data: memoryview, starts: NDArray[np.uint64]) -> NDArray[np.void] | None:
    """Return heads and pixels of all records, (records,), without a copy; None if records differ in length."""
    if not len(starts) or len(starts) * HEAD.size > len(data):
        return None
    length, last = (HEAD.unpack_from(data, int(start))[5] for start in (starts[0], starts[-1]))
    if length != last or (np.diff(starts) != HEAD.size + length).any() or int(starts[-1]) + HEAD.size + length > len(data):
        return None
    row = np.dtype([("head", "u1", 8), ("height", "<u4"), ("width", "<u4"), ("rest", "u1", 16), ("pixels", "u1", length)])
    return np.ndarray(len(starts), row, data, int(starts[0]))


class RawStore(PackedStore):
    """Store of pixels as they are, (height, width, 3) uint8, of any size each."""

    kind: ClassVar[str] = "RawStore"
    format: ClassVar[str] = "raw"

    def open(self) -> tuple[StoreInfo, RecordIndex]:
        try:
            with open(self.path, "rb") as file:
                header, size = file.read(HEADER.size), os.fstat(file.fileno()).st_size
                at, index_size, info_size = self._parse_header(header, size)
                self.file, self.size_at_open = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), size
                self.map = memoryview(self.file)
        except OSError as error:
            raise ConfigError(f"cannot open the store {self.path}: {error.strerror}") from None
        info = self.map[at + index_size : at + index_size + info_size]
        index = RecordIndex.load(self.map[at : at + index_size], info, self.path)
        metadata, starts = StoreInfo.load(info, self.path), index.offsets
        if metadata.encoding != "raw" or len(starts) != len(index.labels) or (len(starts) and int(starts.max()) > at - HEAD.size):
            raise ConfigError(f"the store {self.path} has an index that accel never writes; pack it again")
        self.starts = index.offsets
        self.table = record_table(self.map, self.starts)
        return metadata, index

    def _parse_header(self, header: bytes, size: int) -> tuple[int, int, int]:
        """Return the offset of the index, its bytes and the bytes of the JSON, for a file of `size` bytes.

        The size is checked before the file is mapped: a missing page would be a SIGBUS.
        """
        if len(header) < HEADER.size or header[:8] != SIGNATURE:
            raise ConfigError(f"{self.path} is no raw store, or was never finished; pack the data set again")
        _, crc, at, index_size, info_size, expected = HEADER.unpack(header)
        if crc32(header[12:]) != crc:
            raise ConfigError(f"the header of the store {self.path} is damaged: its crc32 differs; copy or pack it again")
        if size != expected:
            raise ConfigError(f"the store {self.path} is cut short: it has {size:,} bytes of {expected:,}; copy or pack it again")
        return at, index_size, info_size

    def framed_records(self, indices: Sequence[int]) -> list[memoryview]:
        self.check_length(self.file, self.size_at_open)
        starts = [int(self.starts[index]) for index in indices]
        return [self.map[start : start + HEAD.size + HEAD.unpack_from(self.map, start)[5]] for start in starts]

    @property
    def size(self) -> tuple[int, int] | None:
        """Height and width of all pictures in pixels, read from the first; None if records differ in length."""
        if not len(self) or self.table is None:
            return None
        first = self.table[0]
        height, width = int(first["height"]), int(first["width"])
        return (height, width) if 0 < height * width * 3 == first["pixels"].size else None

    def gather(self, indices: Sequence[int]) -> NDArray[np.uint8]:
        """Return a copy of several pictures, (n, height, width, 3) uint8; `size` must not be None.

        Raises:
            ConfigError: If one is damaged, or of another shape.
        """
        assert self.table is not None
        places, (height, width) = np.asarray(indices), self.size or (0, 0)
        for index in places[np.frombuffer(self._checked, np.uint8)[places] == 0].tolist():
            self.get(index)
        self.check_length(self.file, self.size_at_open)
        rows = self.table[places]
        if (rows["height"] != height).any() or (rows["width"] != width).any():
            raise ConfigError(f"the pictures of {self.path} are not all of {height} x {width} pixels")
        pixels: NDArray[np.uint8] = rows["pixels"].reshape(-1, height, width, 3)
        return pixels

    def close(self) -> None:
        if self._opened is not None:
            self._opened = self.table = None
            del self.file, self.map  # unmapped when the last view of it is gone
