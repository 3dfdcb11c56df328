"""Metadata of a packed store, written into its file as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields

from accel.errors import ConfigError

__all__ = ["ENCODINGS", "VERSION", "StoreInfo"]

VERSION = 1
ENCODINGS = ("original", "jpeg", "tiled", "bmp", "raw")
"""Encodings of records."""


@dataclass(frozen=True)
class StoreInfo:
    """Metadata of a packed store. The fields are the keys of the JSON in its file.

    Args:
        encoding: Encoding of its records: original, jpeg, tiled, bmp or raw.
        classes: Names of the classes; a label is a position in this list.
        count: Number of records.
        size: Bytes of all records' contents together.
        fingerprint: SHA-256 of classes, labels, names and contents.
        source: Fingerprint of the source.
        changed: How the pictures differ from the source's, in words; empty if they are the same to the last bit.
        skipped: Keys of the source's pictures that could not be read and were left out.
        version: Version of the format.
    """

    encoding: str
    classes: list[str]
    count: int
    size: int
    fingerprint: str
    source: str
    changed: str = ""
    skipped: list[str] = field(default_factory=list)
    version: int = VERSION

    def _checked(self) -> StoreInfo:
        """Return the metadata. Raise ValueError if a value is none that accel writes."""
        texts = [self.encoding, self.fingerprint, self.source, self.changed]
        counts = [self.count, self.size]
        good = isinstance(self.classes, list) and isinstance(self.skipped, list) and all(type(one) is int for one in counts)
        good = good and all(type(text) is str for text in [*texts, *self.classes, *self.skipped])
        if not good or not 0 <= min(counts) <= max(counts) < 1 << 63 or self.encoding not in ENCODINGS:
            raise ValueError("another type")
        "".join([*texts, *self.classes, *self.skipped]).encode(errors="surrogateescape")  # no other text is a name of a file
        return self

    def dump(self) -> bytes:
        """Return the metadata as JSON."""
        return json.dumps(asdict(self), indent=1).encode()

    @staticmethod
    def load(data: bytes | memoryview, path: object) -> StoreInfo:
        """Return the metadata of a store's JSON; `path` is named in messages.

        Raises:
            ConfigError: If another version wrote it, or it is no such JSON.
        """
        try:
            values = json.loads(bytes(data))
            version = values["version"]
            if version == VERSION and type(version) is int:
                return StoreInfo(**{item.name: values[item.name] for item in fields(StoreInfo)})._checked()
        except (ValueError, KeyError, TypeError, RecursionError):
            raise ConfigError(f"the store {path} does not say what it holds; pack it again") from None
        raise ConfigError(f"the store {path} has format version {str(version)[:20]}, and this accel reads {VERSION}; pack it again")
