"""What a store says of itself, and what it knows of each record without reading it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from hashlib import sha256
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from accel.errors import ConfigError

__all__ = ["VERSION", "About", "Index"]

VERSION = 1


@dataclass(frozen=True)
class About:
    """What a store says of itself; its json stands in the file."""

    encoding: str
    classes: list[str]
    count: int
    size: int
    """Bytes of all records' contents together."""
    fingerprint: str
    """Of the records: classes, labels, names and contents."""
    source: str
    """The fingerprint of what was packed."""
    changed: str = ""
    """How the pictures differ from those of the source, in words; empty where they are the same to the last bit."""
    skipped: list[str] = field(default_factory=list)
    """The keys of the pictures of the source that could not be read and were left out."""
    version: int = VERSION

    def dump(self) -> bytes:
        """As JSON."""
        return json.dumps(asdict(self), indent=1).encode()

    @staticmethod
    def load(data: bytes | memoryview, path: object) -> About:
        """From JSON. Raises ConfigError for one that another version wrote, or that is none."""
        try:
            found = json.loads(bytes(data))
            version = found["version"]
            if version == VERSION:
                return About(**{item.name: found[item.name] for item in fields(About)})
        except (ValueError, KeyError, TypeError):
            raise ConfigError(f"the store {path} does not say what it holds; pack it again") from None
        raise ConfigError(f"the store {path} has format version {version}, and this accel reads {VERSION}; pack it again")


@dataclass(frozen=True)
class Index:
    """Of every record: its label, its key (`class/name.jpg`), and where it lies in the file."""

    labels: NDArray[np.uint32]
    ends: NDArray[np.uint64]
    """Where the key of each ends in `keys`."""
    offsets: NDArray[np.uint64]
    """Where the head of each record begins; empty where the store finds them by itself."""
    keys: bytes
    """All keys, UTF-8, one after the other."""

    @staticmethod
    def of(labels: list[int], keys: list[str], offsets: list[int]) -> Index:
        """From lists."""
        encoded = [key.encode(errors="surrogateescape") for key in keys]
        ends = np.cumsum([len(key) for key in encoded], dtype=np.uint64)
        return Index(np.array(labels, np.uint32), ends, np.array(offsets, np.uint64), b"".join(encoded))

    def key(self, index: int) -> str:
        """The key of record `index`."""
        start = int(self.ends[index - 1]) if index else 0
        return self.keys[start : int(self.ends[index])].decode(errors="surrogateescape")

    def digest(self, classes: list[str], crcs: list[int]) -> str:
        """The fingerprint of the records, whatever file they lie in. `crcs` are those of their heads and contents."""
        digest = sha256("\0".join(classes).encode(errors="surrogateescape"))
        for part in (self.labels, self.ends, self.keys, np.array(crcs, np.uint32)):
            digest.update(part if isinstance(part, bytes) else part.tobytes())
        return digest.hexdigest()

    def dump(self, about: bytes) -> bytes:
        """The arrays one after the other, with their lengths and the crc32 of `about` before them and a crc32 at the end."""
        counts = np.array([len(self.labels), len(self.offsets), crc32(about)], "<u8")
        body = b"".join([counts.tobytes(), self.labels.tobytes(), self.ends.tobytes(), self.offsets.tobytes(), self.keys])
        return body + crc32(body).to_bytes(4, "little")

    @staticmethod
    def load(data: bytes | memoryview, about: bytes | memoryview, path: object) -> Index:
        """From what `dump` gave. Raises ConfigError where it, or `about`, is not that to the last bit."""
        body, crc = data[:-4], bytes(data[-4:])
        if len(body) < 24 or crc32(body).to_bytes(4, "little") != crc or int.from_bytes(body[16:24], "little") != crc32(about):
            raise ConfigError(f"the index of the store {path} is damaged: its crc32 differs; copy or pack it again")
        count, offsets, _ = np.frombuffer(body[:24], "<u8").tolist()
        at = [24, 24 + 4 * count, 24 + 12 * count, 24 + 12 * count + 8 * offsets]
        return Index(
            np.frombuffer(body[at[0] : at[1]], "<u4").copy(),
            np.frombuffer(body[at[1] : at[2]], "<u8").copy(),
            np.frombuffer(body[at[2] : at[3]], "<u8").copy(),
            bytes(body[at[3] :]),
        )
