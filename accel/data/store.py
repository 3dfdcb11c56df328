"""The store protocol: where encoded samples come from, be it files, a packed store or a class of the user's own."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from hashlib import sha256
from itertools import chain
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from accel.data.class_folders import FolderWalk, scan_folder
from accel.data.file_access import file_status, read_file
from accel.data.file_names import FileNames
from accel.data.picture_names import SUFFIXES, PassedOver, is_hidden
from accel.errors import ConfigError

__all__ = [
    "OUTLINE_SIZES",
    "UNLABELLED",
    "Files",
    "KeyedStore",
    "Record",
    "Store",
    "class_names",
    "picture_files",
]

Record = bytes | memoryview
"""An encoded sample. With the encoding raw, a memoryview of shape (height, width, 3) of bytes, in row order."""
UNLABELLED = -1
"""Label of a picture without a class."""
OUTLINE_SIZES = 1000
"""Number of files, at most, whose size an outline asks for."""


class Store(Protocol):
    """Encoded samples with their labels, by index. Any class with these members is a store.

    Reading must be safe from several threads at once. It must be safe from processes that were forked, or to which the store was
    pickled.

    A store may have `kind`, a str that names its fingerprint in checkpoints; else the name of its class does. It may have `mapped`:
    if that is true, its records are views of mapped memory, and loaders ask for those of several samples together (`get_many`).
    """

    @property
    def encoding(self) -> str:
        """The way to decode a record: original (as its file was), jpeg, tiled, bmp or raw."""
        ...

    def __len__(self) -> int:
        """Return the number of samples."""
        ...

    def get(self, index: int) -> Record:
        """Return a record; a view without a copy where that is safe. Nobody may write to it.

        Raises:
            BadSample: if the record cannot be read, or is not the one that was written.
        """
        ...

    def get_many(self, indices: Sequence[int]) -> list[Record]:
        """Return the records of `indices`, in their order."""
        ...

    def label(self, index: int) -> int:
        """Return the number of the sample's class."""
        ...

    def name(self, index: int) -> str:
        """Return the sample's name for messages."""
        ...

    def fingerprint(self) -> str:
        """Return a text that is equal for two stores of the same records, and differs otherwise."""
        ...


class KeyedStore(Store, Protocol):
    """Store that knows its classes and the path of each record under its root, so that it can be packed and compared."""

    @property
    def classes(self) -> list[str]:
        """The names of the classes; a label is a position in this list."""
        ...

    def key(self, index: int) -> str:
        """Return the path of the picture in its data set, `class/name.jpg`, with `/` on every system."""
        ...


class Files:
    """Pictures of class folders, `<folder>/<class>/**/*.jpg`, as torchvision's ImageFolder has them.

    The folders are listed once. Which of their files are samples is the rule of `picture_names` and `class_folders`.

    Args:
        folder: holds one folder per class.
        classes: their names in order; a label is a position in this list.
        unlabelled: a folder of further pictures without a class, which come last, with the label `UNLABELLED`.

    Raises:
        ConfigError: if a class has no pictures, or a folder cannot be read.
        BadSample: if a file cannot be read, when it is read.
        TrainingError: if that is the machine's fault, such as too many open files.
    """

    kind, encoding, named = "Files", "original", True
    skipped: Sequence[str] = ()
    """Keys that were left out when the store was made: none."""

    def __init__(self, folder: Path, classes: list[str], unlabelled: Path | None = None) -> None:
        self.folder, self.path, self.classes = folder, folder, classes
        walk = FolderWalk(str(folder))
        walk.count_loose()
        counts: list[int] = []
        groups: Iterable[list[str]] = (_pictures(walk, name, counts) for name in classes)
        if unlabelled is not None:
            groups = chain(groups, (_without_class(folder, each, counts) for each in [unlabelled]))  # counted last
        self.files = FileNames(str(folder), groups)
        self.passed_over = walk.passed_over
        self.same_folders = [group for group in walk.classes.values() if len(group) > 1]
        numbers = np.arange(len(counts), dtype=np.int32)
        self.labels: NDArray[np.int32] = np.repeat(np.where(numbers < len(classes), numbers, np.int32(UNLABELLED)), counts)

    def __len__(self) -> int:
        return len(self.files)

    def get(self, index: int) -> bytes:
        return read_file(self.files[index])

    def get_many(self, indices: Sequence[int]) -> list[Record]:
        return [self.get(index) for index in indices]

    def label(self, index: int) -> int:
        return int(self.labels[index])

    def name(self, index: int) -> str:
        return self.files[index]

    def key(self, index: int) -> str:
        return self.files.key(index)

    def fingerprint(self) -> str:
        """Return a digest of the classes, and of the path and size of every file: 64 hexadecimal digits."""
        digest = sha256("\n".join(self.classes).encode(errors="surrogateescape"))
        for key, file in zip(self.files.keys(), self.files, strict=True):
            digest.update(f"\0{key}\0{file_status(file, 'st_size')}".encode(errors="surrogateescape"))
        return digest.hexdigest()

    def outline(self) -> str:
        """Return a digest of the classes, every path, and the sizes of at most `OUTLINE_SIZES` files: quick on a slow disk."""
        digest = sha256("\n".join(self.classes).encode(errors="surrogateescape"))
        count = len(self.files)
        step = max(1, -(-count // OUTLINE_SIZES))
        for index in range(0, count, step):
            digest.update(f"\0{self.key(index)}\0{file_status(self.files[index], 'st_size')}".encode(errors="surrogateescape"))
            rest = self.files.terminated(index + 1, min(index + step, count))
            if rest:  # each of them as above, with an empty size
                digest.update(b"\0" + rest.replace(b"\0", b"\0\0")[:-1])
        return digest.hexdigest()

    def describe(self) -> str:
        """Return the number of pictures and their folder, for the plan."""
        return f"{len(self):,} pictures in {self.folder}"


def _pictures(walk: FolderWalk, name: str, counts: list[int]) -> list[str]:
    """Return the paths of a class's pictures, and add their number to `counts`. Raise ConfigError if there are none."""
    before, walk.passed_over = walk.passed_over, PassedOver()
    pictures, here = walk.pictures(name), walk.passed_over.describe()
    before.update(walk.passed_over)
    walk.passed_over = before
    if not pictures:
        kinds, there = ", ".join(sorted(SUFFIXES)), f" (passed over: {here})" * bool(here)
        raise ConfigError(f"{walk.root}/{name} has no pictures ({kinds}); fill the folder or take it away{there}")
    counts.append(len(pictures))
    return pictures


def _without_class(folder: Path, unlabelled: Path, counts: list[int]) -> list[str]:
    """Return the paths of pictures that have no class, from `folder` on, and add their number to `counts`.

    Raises:
        ConfigError: if there are none.
    """
    pictures = FolderWalk(str(unlabelled)).pictures("") if unlabelled.is_dir() else []
    if not pictures:
        kinds = ", ".join(sorted(SUFFIXES))
        raise ConfigError(f"{unlabelled} has no pictures ({kinds}); name the folder of those without a class, or leave it out")
    counts.append(len(pictures))
    way = os.path.relpath(unlabelled, folder)
    return [f"{way}/{name}" for name in pictures]


def class_names(folder: Path) -> list[str]:
    """Return the names of the folders in `folder`, sorted, without hidden ones. Raise ConfigError if it cannot be read."""
    return [entry.name for entry in scan_folder(str(folder)) if not is_hidden(entry.name) and os.path.isdir(entry.path)]


def picture_files(folder: Path) -> list[str]:
    """Return the paths of all pictures under `folder`, sorted, so that an index means the same on every machine."""
    return [os.path.join(folder, key) for key in FolderWalk(str(folder)).pictures("")]
