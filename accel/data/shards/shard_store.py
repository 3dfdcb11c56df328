"""Records that lie in several files, by index."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from accel.data.remote.fsspec_client import is_url
from accel.data.shards.index_cache import IndexCache, unpack_strings
from accel.data.shards.range_reader import LocalFile, Pieces
from accel.data.store import Record
from accel.errors import ConfigError

if TYPE_CHECKING:
    from accel.data.remote.block_cache import BlockCache

__all__ = ["OPEN", "Shards", "pieces"]

OPEN = 256
"""Files that are held open; a process may often hold 1,024."""


class Shards(ABC):
    """Pictures in files that another tool wrote, each with its label; read at random, through an index that is made once.

    Args:
        names: the files, in order; local ones or URLs.
        cache: where files at URLs are kept.

    Raises:
        ConfigError: for a file that is not there, is damaged or is not what it is taken for; at once, or when it is read.
    """

    encoding = "original"
    skipped: Sequence[str] = ()
    """No key is ever left out."""
    classes: list[str]
    """The names of the classes; their numbers, where nothing tells names."""
    named: bool
    """Whether the classes have names, and the keys are those of class folders."""

    def __init__(self, names: Sequence[str], cache: BlockCache | None = None) -> None:
        self.pieces: list[Pieces] = pieces(names, cache)
        self.path = names[0] if len(names) == 1 else f"{names[0]} to {names[-1].rpartition('/')[2]}"
        parts = [self._index(file) for file in self.pieces]
        counts = [len(part["offsets"]) for part in parts]
        self.shards: NDArray[np.int32] = np.repeat(np.arange(len(parts), dtype=np.int32), counts)
        self.columns: dict[str, NDArray[Any]] = {
            name: np.concatenate([part[name] for part in parts]) for name in parts[0] if name not in ("text", "ends")
        }
        self.keys = [key for part in parts for key in unpack_strings(part)]
        if not self.keys:
            raise ConfigError(f"{self.path} holds no pictures; name other files")
        self.arrange()

    @property
    @abstractmethod
    def kind(self) -> str:
        """What the index is a function of, besides the files."""

    @abstractmethod
    def scan(self, file: Pieces) -> dict[str, NDArray[Any]]:
        """The index of one file: `offsets`, `sizes`, `labels` and the `texts` of the keys of its pictures; more where wanted."""

    @abstractmethod
    def arrange(self) -> None:
        """Sets `classes` and `named` from the whole index, and puts it in order."""

    def _index(self, file: Pieces) -> dict[str, NDArray[Any]]:
        kept = IndexCache(file, self.kind)
        found = kept.load()
        if found is None:
            found = self.scan(file)
            kept.save(found)
        return found

    def take(self, order: NDArray[np.int64]) -> None:
        """Puts the samples in this order."""
        self.shards = self.shards[order]
        self.columns = {name: column[order] for name, column in self.columns.items()}
        self.keys = [self.keys[number] for number in order.tolist()]

    def __len__(self) -> int:
        return len(self.keys)

    def get(self, index: int) -> bytes:
        return self.file(index).read(int(self.columns["offsets"][index]), int(self.columns["sizes"][index]))

    def get_many(self, indices: Sequence[int]) -> list[Record]:
        return [self.get(index) for index in indices]

    def file(self, index: int) -> Pieces:
        """The file in which a record lies."""
        if not 0 <= index < len(self.keys):
            raise IndexError(f"record {index} of {len(self.keys)} in {self.path}")
        return self.pieces[int(self.shards[index])]

    def label(self, index: int) -> int:
        return int(self.columns["labels"][index])

    def key(self, index: int) -> str:
        return self.keys[index]

    def name(self, index: int) -> str:
        return f"{self.keys[index]} in {self.file(index).name}"

    def fingerprint(self) -> str:
        """Of the classes, and of the key, label and size of every picture."""
        digest = sha256("\n".join(self.classes).encode(errors="surrogateescape"))
        digest.update("\0".join(self.keys).encode(errors="surrogateescape"))
        for name in ("labels", "sizes"):
            digest.update(self.columns[name].astype("<i8").tobytes())
        return digest.hexdigest()

    def describe(self) -> str:
        """For the plan: how much is in it."""
        size = int(self.columns["sizes"].sum())
        return (
            f"{len(self):,} pictures, {size / 1e6:,.1f} MB in {len(self.pieces):,} file{'s' * (len(self.pieces) > 1)}, {self.path}"
        )

    @property
    def stamp(self) -> str:
        """Another one when one of the files was changed."""
        return "\n".join(file.stamp for file in self.pieces)


def pieces(names: Sequence[str], cache: BlockCache | None) -> list[Pieces]:
    """Files to be read, local or at URLs."""
    if not is_url(names[0]):
        return [LocalFile(name, keep=len(names) <= OPEN) for name in names]
    from accel.data.remote.block_cache import BlockCache
    from accel.data.remote.remote_files import RemoteFile

    cache = BlockCache() if cache is None else cache
    return [RemoteFile(name, cache) for name in names]
