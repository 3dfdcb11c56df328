"""Base class of store writers: records are appended, and records written before a crash are recovered."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from accel.data.stores.index import RecordIndex
from accel.data.stores.record_format import EncodedPicture
from accel.data.stores.store_info import StoreInfo

__all__ = ["StoreWriter"]


class StoreWriter(ABC):
    """Writer of an unfinished store, `part`. If the file exists already, its intact records are recovered.

    Raises:
        OSError: If the disk is full, or cannot be written to.
    """

    def __init__(self, part: Path) -> None:
        self.part = part
        self.crcs: list[int] = []
        """crc32 of each record written so far."""
        self.sizes: list[int] = []
        """Bytes of each record's content."""

    @abstractmethod
    def truncate(self, count: int) -> None:
        """Remove all records after the first `count`."""

    @abstractmethod
    def add(self, records: Sequence[EncodedPicture]) -> None:
        """Append records: all of them, or none if an error is raised."""

    @abstractmethod
    def _close(self, info: bytes, index: RecordIndex) -> None:
        """Write the store's JSON and its index, flush the file to the disk, and close it."""

    @abstractmethod
    def close(self) -> None:
        """Close the file as it is."""

    def finish(self, info: StoreInfo, labels: list[int], keys: list[str]) -> StoreInfo:
        """Make the file a store.

        Args:
            info: Metadata, in which count, size and fingerprint are filled in here.
            labels: Label of each record.
            keys: Key of each record.

        Returns:
            The metadata of the store.
        """
        index = RecordIndex.from_lists(labels, keys, self.offsets)
        fingerprint = index.digest([info.encoding, *info.classes], self.crcs)
        info = replace(info, count=len(self.crcs), size=sum(self.sizes), fingerprint=fingerprint)
        self._close(info.dump(), index)
        return info

    @property
    def offsets(self) -> list[int]:
        """Offset of each record in the file, in bytes; empty for a format that finds records by itself."""
        return []

    def _count_record(self, head: bytes, length: int) -> None:
        """Note a written record, by its head and the bytes of its content."""
        self.crcs.append(int.from_bytes(head[:4], "little"))
        self.sizes.append(length)
