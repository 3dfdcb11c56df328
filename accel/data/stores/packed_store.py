"""Base class of packed stores, of any format."""

from __future__ import annotations

import mmap
from abc import ABC, abstractmethod
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from accel.data.store import Record
from accel.data.stores.index import RecordIndex
from accel.data.stores.record_format import HEAD, is_intact, picture_size
from accel.data.stores.store_info import StoreInfo
from accel.errors import BadSample, ConfigError, TrainingError

__all__ = ["PackedStore"]


class PackedStore(ABC):
    """Store in one file, made by `python -m accel pack`; opened on first use, anew in a process to which it was pickled.

    The crc32 of a record is compared when it is first read, once among all processes that were forked from the one that opened
    the store. Reading the record again costs nothing more.

    Args:
        path: The file.

    Raises:
        ConfigError: If the file is missing, cut short or damaged.
        BadSample: If a record is damaged, when it is read.
        TrainingError: If the file was cut short since it was opened, when it is read.
    """

    named = mapped = True
    """Whether classes and keys have names: those of the source; whether records are views of mapped memory."""
    format: ClassVar[str]
    """Name of the format, and suffix of its files."""

    def __init__(self, path: str | PathLike[str]) -> None:
        self.path = Path(path)
        self._opened: tuple[StoreInfo, RecordIndex] | None = None

    def __reduce__(self) -> tuple[type[PackedStore], tuple[Path]]:
        return type(self), (self.path,)

    @abstractmethod
    def open(self) -> tuple[StoreInfo, RecordIndex]:
        """Open the file, and return its metadata and its index."""

    @abstractmethod
    def framed_records(self, indices: Sequence[int]) -> list[memoryview]:
        """Return head and content of records, unchecked, without a copy, after one look at the length of the file."""

    def framed_record(self, index: int) -> memoryview:
        """Return head and content of record `index`, unchecked, without a copy."""
        return self.framed_records((index,))[0]

    def check_length(self, mapped: mmap.mmap, size: int) -> None:
        """Check before each read that the file is as long as it was: reading a missing page would end the process by SIGBUS.

        It costs a microsecond, and lets go of the interpreter's lock. A file that is cut in the very moments between check and
        read still ends the process.

        Args:
            mapped: Map of any part of the file.
            size: Bytes of the file when it was opened.

        Raises:
            TrainingError: If the file is shorter.
        """
        if (length := mapped.size()) < size:
            raise TrainingError(
                f"the store {self.path} was cut short while it was read: it has {length:,} bytes of {size:,}; "
                "copy or pack it again, under another name first if a run reads it"
            )

    @abstractmethod
    def close(self) -> None:
        """Close the file; views of its records must not be used any more."""

    @property
    def metadata(self) -> tuple[StoreInfo, RecordIndex]:
        """Metadata and index, for which the file is opened if need be."""
        if self._opened is None:
            opened = self.open()
            info, index = opened
            labels = index.labels
            if len(labels) != info.count or (info.count and int(labels.max()) >= len(info.classes)):
                raise ConfigError(f"the store {self.path} has records of classes that it does not name; pack it again")
            self._checked = mmap.mmap(-1, max(1, opened[0].count))  # shared with the processes forked from here on
            self._opened = opened
        return self._opened

    @property
    def info(self) -> StoreInfo:
        """Metadata of the store."""
        return self.metadata[0]

    @property
    def index(self) -> RecordIndex:
        """Labels and keys of the records."""
        return self.metadata[1]

    @property
    def encoding(self) -> str:
        return self.info.encoding

    @property
    def classes(self) -> list[str]:
        return self.info.classes

    def __len__(self) -> int:
        return self.info.count

    def get(self, index: int) -> Record:
        return self.get_many((index,))[0]

    def get_many(self, indices: Sequence[int]) -> list[Record]:
        count = len(self)
        for index in indices:
            if not 0 <= index < count:
                raise IndexError(f"record {index} of {count} in {self.path}")
        records, checked = self.framed_records(indices), self._checked
        for index, framed in zip(indices, records, strict=True):
            if not checked[index]:
                if not is_intact(framed, index):
                    raise BadSample(f"{self.name(index)} is damaged: its crc32 differs; pack the store again")
                checked[index] = 1
        if self.info.encoding != "raw":
            return [framed[HEAD.size :] for framed in records]
        return list(map(self._pixels, indices, records))

    def _pixels(self, index: int, framed: memoryview) -> Record:
        """Return the content of a record as a picture, (height, width, 3)."""
        height, width = picture_size(framed)
        if not 0 < height * width * 3 == len(framed) - HEAD.size:
            size = len(framed) - HEAD.size
            raise BadSample(f"{self.name(index)} has {size:,} bytes, and {height} x {width} pixels; pack the store again")
        return framed[HEAD.size :].cast("B", (height, width, 3))

    @property
    def labels(self) -> NDArray[np.uint32]:
        """Numbers of the records' classes, in order: (records,)."""
        return self.index.labels

    def label(self, index: int) -> int:
        return int(self.index.labels[index])

    def key(self, index: int) -> str:
        return self.index.key(index)

    def name(self, index: int) -> str:
        return f"{self.key(index)} (record {index} of {self.path})"

    def fingerprint(self) -> str:
        return self.info.fingerprint

    @property
    def skipped(self) -> list[str]:
        """Keys of the pictures that were left out at packing."""
        return self.info.skipped

    def describe(self) -> str:
        """Return a line for the plan: number and size of records, and how the pictures differ from the source's."""
        info = self.info
        words = [f"{info.count:,} records, {info.encoding}, {info.size / 1e6:,.1f} MB in {self.path}"]
        words += [f"other pictures than the files: {info.changed}"] if info.changed else []
        words += [f"{len(info.skipped):,} that could not be read were left out"] if info.skipped else []
        return "; ".join(words)
