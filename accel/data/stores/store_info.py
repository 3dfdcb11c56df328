"""Metadata of a packed store, written into its file as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields

from accel.errors import ConfigError

__all__ = ["VERSION", "StoreInfo"]

VERSION = 1


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
            if version == VERSION:
                return StoreInfo(**{item.name: values[item.name] for item in fields(StoreInfo)})
        except (ValueError, KeyError, TypeError):
            raise ConfigError(f"the store {path} does not say what it holds; pack it again") from None
        raise ConfigError(f"the store {path} has format version {version}, and this accel reads {VERSION}; pack it again")
