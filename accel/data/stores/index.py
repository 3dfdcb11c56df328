"""Index of a packed store: label, key and offset of every record, known without reading the record.

In the file, little endian: uint64 number of records, number of offsets (0 or the number of records), crc32 of the store's JSON;
labels, uint32 each; ends of the keys, uint64 each; offsets, uint64 each; the keys in UTF-8; uint32 crc32 of all before it.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from accel.errors import ConfigError

__all__ = ["RecordIndex"]


@dataclass(frozen=True)
class RecordIndex:
    """Label, key (`class/name.jpg`) and place in the file of every record.

    Args:
        labels: (records,) uint32.
        ends: (records,) uint64: where each record's key ends in `keys`.
        offsets: (records,) uint64: where each record's head begins in the file; empty if the format finds records by itself.
        keys: All keys, UTF-8, one after the other.
    """

    labels: NDArray[np.uint32]
    ends: NDArray[np.uint64]
    offsets: NDArray[np.uint64]
    keys: bytes

    @staticmethod
    def from_lists(labels: list[int], keys: list[str], offsets: list[int]) -> RecordIndex:
        """Return the index of records given by lists, in order."""
        encoded = [key.encode(errors="surrogateescape") for key in keys]
        ends = np.cumsum([len(key) for key in encoded], dtype=np.uint64)
        return RecordIndex(np.array(labels, np.uint32), ends, np.array(offsets, np.uint64), b"".join(encoded))

    def key(self, index: int) -> str:
        """Return the key of record `index`."""
        start = int(self.ends[index - 1]) if index else 0
        return self.keys[start : int(self.ends[index])].decode(errors="surrogateescape")

    def digest(self, classes: list[str], crcs: list[int]) -> str:
        """Return the fingerprint of the records, whatever file they lie in: SHA-256, in hexadecimal digits.

        Args:
            classes: Names of the classes.
            crcs: crc32 of each record's head and content.
        """
        digest = sha256("\0".join(classes).encode(errors="surrogateescape"))
        for part in (self.labels, self.ends, self.keys, np.array(crcs, np.uint32)):
            digest.update(part if isinstance(part, bytes) else part.tobytes())
        return digest.hexdigest()

    def dump(self, info: bytes) -> bytes:
        """Return the index as it stands in the file; `info` is the store's JSON."""
        counts = np.array([len(self.labels), len(self.offsets), crc32(info)], "<u8")
        body = b"".join([counts.tobytes(), self.labels.tobytes(), self.ends.tobytes(), self.offsets.tobytes(), self.keys])
        return body + crc32(body).to_bytes(4, "little")

    @staticmethod
    def load(data: bytes | memoryview, info: bytes | memoryview, path: object) -> RecordIndex:
        """Return the index of a file's bytes; `info` is the store's JSON, and `path` is named in messages.

        Raises:
            ConfigError: If index or JSON differ from the written ones in any bit, or were never written by accel.
        """
        body, crc = data[:-4], bytes(data[-4:])
        if len(body) < 24 or crc32(body).to_bytes(4, "little") != crc or int.from_bytes(body[16:24], "little") != crc32(info):
            raise ConfigError(f"the index of the store {path} is damaged: its crc32 differs; copy or pack it again")
        count, offsets, _ = np.frombuffer(body[:24], "<u8").tolist()
        at = [24, 24 + 4 * count, 24 + 12 * count, 24 + 12 * count + 8 * offsets]
        if offsets not in (0, count) or at[3] > len(body):
            raise ConfigError(f"the store {path} has an index that accel never writes; pack it again")
        index = RecordIndex(
            np.frombuffer(body[at[0] : at[1]], "<u4").copy(),
            np.frombuffer(body[at[1] : at[2]], "<u8").copy(),
            np.frombuffer(body[at[2] : at[3]], "<u8").copy(),
            bytes(body[at[3] :]),
        )
        if (index.ends[1:] < index.ends[:-1]).any() or (int(index.ends[-1]) if count else 0) != len(index.keys):
            raise ConfigError(f"the store {path} has an index that accel never writes; pack it again")
        return index
