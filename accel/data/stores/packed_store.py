"""What every packed store does, whatever its format."""

from __future__ import annotations

import mmap
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from accel.data.store import Record
from accel.data.stores.index import About, Index
from accel.data.stores.record_format import HEAD, size, whole
from accel.errors import BadSample, TrainingError

__all__ = ["Packed"]


class Packed(ABC):
    """A store in one file, made by `python -m accel pack`; opened when first asked, anew in a process to which it was pickled.

    The crc32 of a record is compared when it is first read, by whichever of the processes that were forked from the one that
    opened the store; reading it again costs nothing more.

    Raises:
        ConfigError: where the file is missing, cut short or damaged.
        BadSample: when it is read, where a record is.
        TrainingError: when it is read, where the file was cut short since.
    """

    named = True
    """The keys are those of what was packed."""
    format: ClassVar[str]
    """The suffix of its files, and what it is called."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._opened: tuple[About, Index] | None = None

    def __reduce__(self) -> tuple[type[Packed], tuple[Path]]:
        return type(self), (self.path,)

    @abstractmethod
    def open(self) -> tuple[About, Index]:
        """Opens the file, and reads what it says of itself."""

    @abstractmethod
    def sealed(self, index: int) -> memoryview:
        """Head and content of record `index`, unchecked, without a copy."""

    def stands(self, mapped: mmap.mmap, size: int) -> None:
        """To be asked before what is mapped is read: a page that is missing would be a SIGBUS, of which nobody hears in Python.

        It costs a microsecond. A file that is cut in the very moments between the answer and the reading still ends the process.

        Args:
            mapped: of the file, any part of it.
            size: of the file when it was opened.

        Raises:
            TrainingError: where the file is no longer as long.
        """
        if (have := mapped.size()) < size:
            raise TrainingError(
                f"the store {self.path} was cut short while it was read: it has {have:,} bytes of {size:,}; copy or pack it again, "
                "under another name first if a run reads it"
            )

    @abstractmethod
    def close(self) -> None:
        """Gives up the file; views of its records must not be used any more."""

    @property
    def opened(self) -> tuple[About, Index]:
        """What it says of itself and of each record."""
        if self._opened is None:
            found = self.open()
            self._checked = mmap.mmap(-1, max(1, found[0].count))  # shared with the processes forked from here on
            self._opened = found
        return self._opened

    @property
    def about(self) -> About:
        """What it says of itself."""
        return self.opened[0]

    @property
    def index(self) -> Index:
        """What it knows of each record without reading it."""
        return self.opened[1]

    @property
    def encoding(self) -> str:
        return self.about.encoding

    @property
    def classes(self) -> list[str]:
        return self.about.classes

    def __len__(self) -> int:
        return self.about.count

    def get(self, index: int) -> Record:
        count = len(self)
        if not 0 <= index < count:
            raise IndexError(f"record {index} of {count} in {self.path}")
        sealed = self.sealed(index)
        if not self._checked[index]:
            if not whole(sealed, index):
                raise BadSample(f"{self.name(index)} is damaged: its crc32 differs; pack the store again")
            self._checked[index] = 1
        content = sealed[HEAD.size :]
        return content.cast("B", (*size(sealed), 3)) if self.about.encoding == "raw" else content

    def get_many(self, indices: Sequence[int]) -> list[Record]:
        return [self.get(index) for index in indices]

    def label(self, index: int) -> int:
        return int(self.index.labels[index])

    def key(self, index: int) -> str:
        return self.index.key(index)

    def name(self, index: int) -> str:
        return f"{self.key(index)} (record {index} of {self.path})"

    def fingerprint(self) -> str:
        return self.about.fingerprint

    @property
    def skipped(self) -> list[str]:
        """The keys of the pictures that were left out at packing."""
        return self.about.skipped

    def describe(self) -> str:
        """For the plan: how much is in it, and whether these are the pictures that were packed."""
        about = self.about
        words = [f"{about.count:,} records, {about.encoding}, {about.size / 1e6:,.1f} MB in {self.path}"]
        words += [f"other pictures than the files: {about.changed}"] if about.changed else []
        words += [f"{len(about.skipped):,} that could not be read were left out"] if about.skipped else []
        return "; ".join(words)
