"""The store protocol: where encoded samples come from, be it files, a packed store or a class of the user's own."""

from __future__ import annotations

import os
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Protocol

from accel.data.batches.bad_samples import MACHINE_ERRNOS
from accel.data.codecs.pillow_decoder import SUFFIXES
from accel.errors import BadSample, ConfigError, TrainingError

__all__ = [
    "OUTLINE_SIZES",
    "Files",
    "KeyedStore",
    "Record",
    "Store",
    "class_names",
    "file_status",
    "is_picture",
    "picture_files",
    "read_error",
]

Record = bytes | memoryview
"""An encoded sample. With the encoding raw, a memoryview of shape (height, width, 3) of bytes, in row order."""
OUTLINE_SIZES = 1000
"""Number of files, at most, whose size an outline asks for."""


class Store(Protocol):
    """Encoded samples with their labels, by index. Any class with these members is a store.

    Reading must be safe from several threads at once. It must be safe from processes that were forked, or to which the store was
    pickled.

    A store may have `kind`, a str that names its fingerprint in checkpoints; else the name of its class does.
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

    Args:
        folder: holds one folder per class.
        classes: their names in order; a label is a position in this list.

    Raises:
        ConfigError: if a class has no pictures.
        BadSample: if a file cannot be read, when it is read.
        TrainingError: if that is the machine's fault, such as too many open files.
    """

    kind, encoding, named = "Files", "original", True
    skipped: Sequence[str] = ()
    """Keys that were left out when the store was made: none."""

    def __init__(self, folder: Path, classes: list[str]) -> None:
        self.folder, self.path, self.classes = folder, folder, classes
        self.root = len(str(folder / "x")) - 1  # characters of a file's name before its key
        self.files: list[str] = []
        self.labels: list[int] = []
        for label, name in enumerate(classes):
            files = picture_files(folder / name)
            if not files:
                kinds = ", ".join(sorted(SUFFIXES))
                raise ConfigError(f"{folder / name} has no pictures ({kinds}); fill the folder or take it away")
            self.files += files
            self.labels += [label] * len(files)

    def __len__(self) -> int:
        return len(self.files)

    def get(self, index: int) -> bytes:
        try:
            with open(self.files[index], "rb", buffering=0) as file:  # a buffer for what is read at once costs two more calls
                return file.read()
        except OSError as error:
            raise read_error(error, self.files[index]) from None

    def get_many(self, indices: Sequence[int]) -> list[Record]:
        return [self.get(index) for index in indices]

    def label(self, index: int) -> int:
        return self.labels[index]

    def name(self, index: int) -> str:
        return self.files[index]

    def key(self, index: int) -> str:
        return self.files[index][self.root :].replace(os.sep, "/")

    def fingerprint(self) -> str:
        """Return a digest of the classes, and of the path and size of every file: 64 hexadecimal digits."""
        digest = sha256("\n".join(self.classes).encode())
        for index, file in enumerate(self.files):
            digest.update(f"\0{self.key(index)}\0{file_status(file, 'st_size')}".encode(errors="surrogateescape"))
        return digest.hexdigest()

    def outline(self) -> str:
        """Return a digest of the classes, every path, and the sizes of at most `OUTLINE_SIZES` files: quick on a slow disk."""
        digest = sha256("\n".join(self.classes).encode())
        sized = range(0, len(self.files), -(-len(self.files) // OUTLINE_SIZES))
        for index in range(len(self.files)):
            size = file_status(self.files[index], "st_size") if index in sized else ""
            digest.update(f"\0{self.key(index)}\0{size}".encode(errors="surrogateescape"))
        return digest.hexdigest()

    def describe(self) -> str:
        """Return the number of pictures and their folder, for the plan."""
        return f"{len(self):,} pictures in {self.folder}"


def class_names(folder: Path) -> list[str]:
    """Return the names of the folders in `folder`, sorted, without hidden ones."""
    return sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith("."))


def picture_files(folder: Path) -> list[str]:
    """Return the paths of all pictures under `folder`, sorted, so that an index means the same on every machine."""
    tree = os.walk(folder, followlinks=True)
    return sorted(os.path.join(place, name) for place, _, names in tree for name in names if is_picture(name))


def is_picture(name: str) -> bool:
    """Return whether a file of this name counts as a picture."""
    return os.path.splitext(name)[1].lower() in SUFFIXES and not name.startswith(".")


def read_error(error: OSError, file: str) -> Exception:
    """Return the error of reading a picture as a sentence: a BadSample, or a TrainingError where the machine is at fault."""
    sentence = f"cannot read the picture {file}: {error.strerror}"
    return TrainingError(sentence) if error.errno in MACHINE_ERRNOS else BadSample(f"{sentence}; mend the file or take it away")


def file_status(file: str, *fields: str) -> str:
    """Return fields of `os.stat` of a picture's file (`st_size`, ...) as text, for a fingerprint.

    Of a missing file, such as a link that leads nowhere, it is the reason: whoever reads that file decides.

    Raises:
        TrainingError: if the machine is at fault, such as too many open files.
    """
    try:
        status = os.stat(file)
    except OSError as error:
        if isinstance(reason := read_error(error, file), TrainingError):
            raise reason from None
        return str(error.strerror)
    return "\0".join(str(getattr(status, field)) for field in fields)
