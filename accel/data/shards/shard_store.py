"""Base class of stores whose records lie in several files."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from accel.data.file_access import MAX_FILE_BYTES, too_large
from accel.data.picture_names import PassedOver
from accel.data.remote.fsspec_client import is_url
from accel.data.shards.index_cache import MAX_LABEL, Arrays, IndexCache, is_sound, unpack_strings
from accel.data.shards.range_reader import LocalFile, RandomAccessFile
from accel.data.shards.tar_links import PROBLEMS
from accel.data.store import Record
from accel.errors import BadSample, ConfigError

if TYPE_CHECKING:
    from accel.data.remote.block_cache import BlockCache

__all__ = ["MAX_CLASSES", "MAX_OPEN_FILES", "TOO_MANY_CLASSES", "ShardStore", "names_from_folders", "open_files"]

MAX_OPEN_FILES = 256
"""Files that are held open; a process may often hold 1,024."""
MAX_CLASSES = MAX_LABEL
"""Classes that numbers may tell, at most: twice those of the largest public data set of faces."""
TOO_MANY_CLASSES = f"a label is the number of a class, from 0 to {MAX_CLASSES - 1:,}; number the classes from 0 on"
"""The end of the sentence on a label above all others."""


class ShardStore(ABC):
    """Store of pictures in files that another tool wrote, read at random through an index that is made once.

    Args:
        names: Paths or URLs of the files, in order.
        cache: Cache of files at URLs; None for the default one.

    Raises:
        ConfigError: If a file does not exist, is damaged or has another format; at once, or when it is read.
    """

    encoding = "original"
    index_columns: ClassVar[tuple[str, ...]] = ("offsets", "sizes", "labels")
    """Arrays of the index with a whole number for each record."""
    skipped: Sequence[str] = ()
    """No key is ever left out."""
    classes: list[str]
    """Names of the classes; their numbers, if nothing tells names."""
    named: bool
    """Whether the classes have names, and the keys are those of class folders."""

    def __init__(self, names: Sequence[str], cache: BlockCache | None = None) -> None:
        self.shard_files: list[RandomAccessFile] = open_files(names, cache)
        self.path = names[0] if len(names) == 1 else f"{names[0]} to {names[-1].rpartition('/')[2]}"
        parts = [self._index(file) for file in self.shard_files]
        counts = [len(part["offsets"]) for part in parts]
        self.shards: NDArray[np.int32] = np.repeat(np.arange(len(parts), dtype=np.int32), counts)
        self.columns: dict[str, NDArray[Any]] = {
            name: np.concatenate([part[name] for part in parts]) for name in parts[0] if name not in ("text", "ends", "passed_over")
        }
        self.passed_over = PassedOver()
        for part in parts:
            self.passed_over.update(
                PassedOver.load(part["passed_over"].tobytes().decode(errors="replace")) if "passed_over" in part else PassedOver()
            )
        self.keys = [key for part in parts for key in unpack_strings(part)]
        if not self.keys:
            others = self.passed_over.describe()
            raise ConfigError(f"{self.path} holds no pictures{f' (passed over: {others})' * bool(others)}; name other files")
        self.finish_index()

    @property
    @abstractmethod
    def index_kind(self) -> str:
        """Everything that the index of a file depends on besides the file. Hashed into names of the cache."""

    @abstractmethod
    def scan(self, file: RandomAccessFile) -> dict[str, NDArray[Any]]:
        """Return the index of one file.

        Returns:
            (records,) int64 `offsets` and `sizes` of the pictures, in bytes, and `labels`; the keys as `pack_strings` gives them;
            further arrays of the format.
        """

    @abstractmethod
    def finish_index(self) -> None:
        """Set `classes` and `named` from the whole index, and put it in order."""

    def _index(self, file: RandomAccessFile) -> dict[str, NDArray[Any]]:
        """Return the index of one file, from the cache or from a scan."""
        cache = IndexCache(file, self.index_kind)
        arrays = cache.load()
        if arrays is None or not is_sound(arrays, self.index_columns, file.size) or not self.is_own_index(arrays):
            arrays = self.scan(file)
            cache.save(arrays)
        return arrays

    def is_own_index(self, arrays: Arrays) -> bool:
        """Return whether the further arrays of the format, in an index from the cache, can be those of a scan."""
        try:
            text = arrays["passed_over"].tobytes().decode() if "passed_over" in arrays else "{}"
            counts = PassedOver.load(text).counts.values()
        except (ValueError, TypeError, AttributeError, RecursionError):
            return False
        return all(type(count) is int and type(example) is str for count, example in counts)

    def reorder(self, order: NDArray[np.int64]) -> None:
        """Put the records in another order: record `i` becomes record `order[i]` of before."""
        self.shards = self.shards[order]
        self.columns = {name: column[order] for name, column in self.columns.items()}
        self.keys = [self.keys[number] for number in order.tolist()]

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def labels(self) -> NDArray[np.int64]:
        """Numbers of the pictures' classes, in order: (records,)."""
        return self.columns["labels"]

    def get(self, index: int) -> bytes:
        file, offset, size = self.file_of(index), int(self.columns["offsets"][index]), int(self.columns["sizes"][index])
        if offset < 0:
            raise BadSample(f"cannot read the picture {self.name(index)}: {PROBLEMS[offset]}")
        if size > MAX_FILE_BYTES:
            raise too_large(size, self.name(index))
        return file.read(offset, size)

    def get_many(self, indices: Sequence[int]) -> list[Record]:
        return [self.get(index) for index in indices]

    def file_of(self, index: int) -> RandomAccessFile:
        """Return the file in which a record lies. Raise IndexError if there is no such record."""
        if not 0 <= index < len(self.keys):
            raise IndexError(f"record {index} of {len(self.keys)} in {self.path}")
        return self.shard_files[int(self.shards[index])]

    def label(self, index: int) -> int:
        return int(self.columns["labels"][index])

    def key(self, index: int) -> str:
        return self.keys[index]

    def name(self, index: int) -> str:
        return f"{self.keys[index]} in {self.file_of(index).name}"

    def fingerprint(self) -> str:
        """Return the SHA-256 of the classes, and of the key, label and size of every picture."""
        digest = sha256("\n".join(self.classes).encode(errors="surrogateescape"))
        digest.update("\0".join(self.keys).encode(errors="surrogateescape"))
        for name in ("labels", "sizes"):
            digest.update(self.columns[name].astype("<i8").tobytes())
        return digest.hexdigest()

    def describe(self) -> str:
        """Return a line for the plan: number and size of the pictures."""
        size, count = int(self.columns["sizes"].sum()), len(self.shard_files)
        return f"{len(self):,} pictures, {size / 1e6:,.1f} MB in {count:,} file{'s' * (count > 1)}, {self.path}"

    @property
    def stamp(self) -> str:
        """Versions of all files, which change when a file does."""
        return "\n".join(file.stamp for file in self.shard_files)


def names_from_folders(keys: Sequence[str], labels: NDArray[np.int64]) -> list[str] | None:
    """Return the class names that the folders of the keys give, in order; None if keys and labels disagree."""
    folders = [key.partition("/")[0] if "/" in key else "" for key in keys]
    names = sorted(set(folders))
    if "" in names or [names[label] if label < len(names) else "" for label in labels.tolist()] != folders:
        return None
    return names


def open_files(names: Sequence[str], cache: BlockCache | None) -> list[RandomAccessFile]:
    """Return the files of paths, or of URLs if the first is one."""
    if not is_url(names[0]):
        return [LocalFile(name, keep=len(names) <= MAX_OPEN_FILES) for name in names]
    from accel.data.remote.block_cache import BlockCache
    from accel.data.remote.remote_files import RemoteFile

    cache = BlockCache() if cache is None else cache
    return [RemoteFile(name, cache) for name in names]
