"""What it takes to write a store: records are appended, and what was written before a crash is found again."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from accel.data.stores.index import About, Index
from accel.data.stores.record_format import Content

__all__ = ["Writer"]


class Writer(ABC):
    """Appends records to an unfinished store, `part`; opening one that is there already finds the whole records in it.

    Raises:
        OSError: where the disk is full, or cannot be written to.
    """

    def __init__(self, part: Path) -> None:
        self.part = part
        self.crcs: list[int] = []
        """Of each record written so far."""
        self.sizes: list[int] = []
        """Bytes of each record's content."""

    @abstractmethod
    def keep(self, count: int) -> None:
        """Takes all records after the first `count` away."""

    @abstractmethod
    def add(self, records: Sequence[Content]) -> None:
        """Appends records: all of them, or where it raises none."""

    @abstractmethod
    def _close(self, about: bytes, index: Index) -> None:
        """Writes what stands around the records, and flushes it to the disk."""

    @abstractmethod
    def close(self) -> None:
        """Leaves the file as it is."""

    def finish(self, about: About, labels: list[int], keys: list[str]) -> About:
        """Makes it a store of `about`, whose count, size and fingerprint are filled in here."""
        index = Index.of(labels, keys, self.offsets)
        fingerprint = index.digest([about.encoding, *about.classes], self.crcs)
        about = replace(about, count=len(self.crcs), size=sum(self.sizes), fingerprint=fingerprint)
        self._close(about.dump(), index)
        return about

    @property
    def offsets(self) -> list[int]:
        """Where each record begins, for a format that has to know."""
        return []

    def _added(self, head: bytes, length: int) -> None:
        self.crcs.append(int.from_bytes(head[:4], "little"))
        self.sizes.append(length)
