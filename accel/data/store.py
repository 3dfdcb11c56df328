"""Where encoded samples come from: one small protocol for files, packed stores and a user's own."""

from __future__ import annotations

import os
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Protocol

from accel.data.batches.bad_samples import MACHINE
from accel.data.codecs.pillow_decoder import SUFFIXES
from accel.errors import BadSample, ConfigError, TrainingError

__all__ = ["OUTLINED", "Files", "Listed", "Record", "Store", "class_names", "is_picture", "pictures", "status", "told"]

Record = bytes | memoryview
"""An encoded sample. Of the encoding raw, a memoryview of shape (height, width, 3) of bytes, in row order."""
OUTLINED = 1000
"""Of so many files at most an outline asks for the size."""


class Store(Protocol):
    """Encoded samples with their labels, by index. Any class with these members is one.

    Reading must be safe from several threads at once, and from processes that were forked or to which it was pickled.
    """

    @property
    def encoding(self) -> str:
        """How to decode a record: original (as its file was), jpeg, tiled, bmp or raw."""
        ...

    def __len__(self) -> int: ...

    def get(self, index: int) -> Record:
        """The record; a view without a copy where that is safe, which nobody may write to.

        Raises:
            BadSample: where it cannot be read, or is not what was written.
        """
        ...

    def get_many(self, indices: Sequence[int]) -> list[Record]:
        """The records of `indices`, in their order."""
        ...

    def label(self, index: int) -> int:
        """The number of its class."""
        ...

    def name(self, index: int) -> str:
        """What to call it in a message."""
        ...

    def fingerprint(self) -> str:
        """The same for two stores of the same records, another otherwise."""
        ...


class Listed(Store, Protocol):
    """A store that knows its classes, and by what path under its root each record is known: it can be packed, and compared."""

    @property
    def classes(self) -> list[str]:
        """The names of the classes; a label is a position in this list."""
        ...

    def key(self, index: int) -> str:
        """The path of the picture in its data set, `class/name.jpg`, with `/` on every system."""
        ...


class Files:
    """The pictures of class folders, `<folder>/<class>/**/*.jpg`, as torchvision's ImageFolder has them.

    Args:
        folder: holds one folder per class.
        classes: their names in order; a label is a position in this list.

    Raises:
        ConfigError: where a class has no pictures.
        BadSample: when it is read, where a file cannot be; TrainingError where that is the machine's fault (too many open files).
    """

    encoding, named = "original", True
    skipped: Sequence[str] = ()
    """No key is ever left out."""

    def __init__(self, folder: Path, classes: list[str]) -> None:
        self.folder, self.path, self.classes = folder, folder, classes
        self.root = len(str(folder / "x")) - 1  # characters of a file's name before its key
        self.files: list[str] = []
        self.labels: list[int] = []
        for label, name in enumerate(classes):
            found = pictures(folder / name)
            if not found:
                kinds = ", ".join(sorted(SUFFIXES))
                raise ConfigError(f"{folder / name} has no pictures ({kinds}); fill the folder or take it away")
            self.files += found
            self.labels += [label] * len(found)

    def __len__(self) -> int:
        return len(self.files)

    def get(self, index: int) -> bytes:
        try:
            with open(self.files[index], "rb", buffering=0) as file:  # a buffer for what is read at once costs two more calls
                return file.read()
        except OSError as error:
            raise told(error, self.files[index]) from None

    def get_many(self, indices: Sequence[int]) -> list[Record]:
        return [self.get(index) for index in indices]

    def label(self, index: int) -> int:
        return self.labels[index]

    def name(self, index: int) -> str:
        return self.files[index]

    def key(self, index: int) -> str:
        return self.files[index][self.root :].replace(os.sep, "/")

    def fingerprint(self) -> str:
        """Of the classes, and of the path and size of every file."""
        digest = sha256("\n".join(self.classes).encode())
        for index, file in enumerate(self.files):
            digest.update(f"\0{self.key(index)}\0{status(file, 'st_size')}".encode(errors="surrogateescape"))
        return digest.hexdigest()

    def outline(self) -> str:
        """The same without asking the disk for more than a thousand files: of the classes, every path, and a few sizes."""
        digest = sha256("\n".join(self.classes).encode())
        sized = range(0, len(self.files), -(-len(self.files) // OUTLINED))
        for index in range(len(self.files)):
            size = status(self.files[index], "st_size") if index in sized else ""
            digest.update(f"\0{self.key(index)}\0{size}".encode(errors="surrogateescape"))
        return digest.hexdigest()

    def describe(self) -> str:
        """For the plan: how much is there."""
        return f"{len(self):,} pictures in {self.folder}"


def class_names(folder: Path) -> list[str]:
    """The folders in `folder`, sorted; hidden ones left out."""
    return sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith("."))


def pictures(folder: Path) -> list[str]:
    """The pictures anywhere under `folder`, sorted, so that an index means the same on every machine."""
    tree = os.walk(folder, followlinks=True)
    return sorted(os.path.join(place, name) for place, _, names in tree for name in names if is_picture(name))


def is_picture(name: str) -> bool:
    """Whether a file of this name is taken for a picture."""
    return os.path.splitext(name)[1].lower() in SUFFIXES and not name.startswith(".")


def told(error: OSError, file: str) -> Exception:
    """The same of a picture in a sentence."""
    said = f"cannot read the picture {file}: {error.strerror}"
    return TrainingError(said) if error.errno in MACHINE else BadSample(f"{said}; mend the file or take it away")


def status(file: str, *fields: str) -> str:
    """What the disk says of a picture's file (`st_size`, ...), for a fingerprint.

    Of one that is not there, as where a link leads to nothing, it is the reason: whoever reads it decides what becomes of it.
    """
    try:
        found = os.stat(file)
    except OSError as error:
        if isinstance(why := told(error, file), TrainingError):
            raise why from None
        return str(error.strerror)
    return "\0".join(str(getattr(found, field)) for field in fields)
