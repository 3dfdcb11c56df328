"""Files at URLs as stores read them: one by byte ranges, or the class folders of a split."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

from accel.data.class_folders import LOOSE
from accel.data.file_access import MAX_FILE_BYTES, too_large
from accel.data.picture_names import PassedOver, reason_to_pass
from accel.data.remote import fsspec_client
from accel.data.remote.block_cache import BlockCache
from accel.data.store import Record
from accel.errors import ConfigError

__all__ = ["RemoteFile", "RemoteFolder"]


class RemoteFile:
    """File at a URL that is read by byte ranges (`accel.data.shards.range_reader.RandomAccessFile`).

    Args:
        url: URL of the file.
        cache: Cache of its blocks.

    Raises:
        ConfigError: If the file does not exist, or its server does not say how large it is.
        TrainingError: If the file cannot be reached any more.
    """

    def __init__(self, url: str, cache: BlockCache) -> None:
        self.name, self.cache, self.info = url, cache, fsspec_client.file_info(url, cache.tries)
        if self.info.size < 0:
            raise ConfigError(f"{url}: its server does not say how large it is, so that no part of it can be read; copy it here")
        self.size, self.stamp = self.info.size, f"{self.info.size} {self.info.tag}"

    def read(self, offset: int, size: int) -> bytes:
        """Return `size` bytes from `offset` on; fewer if the file ends."""
        return self.cache.read(self.info, offset, min(size, self.size - offset)) if offset < self.size else b""


class RemoteFolder:
    """Store of the pictures of class folders at a URL, `URL/<class>/**/*.jpg`; each is fetched when it is first read.

    Args:
        url: URL that holds one folder per class.
        cache: Cache of the files.

    Raises:
        ConfigError: If there is no such picture.
        TrainingError: If the files cannot be reached any more.
    """

    kind, encoding, named = "RemoteFolder", "original", True
    skipped: Sequence[str] = ()
    """No key is ever left out."""

    def __init__(self, url: str, cache: BlockCache) -> None:
        self.path, self.cache = url, cache
        self.passed_over, infos = PassedOver(), {}
        for key, info in fsspec_client.walk(url, cache.tries).items():
            if reason := reason_to_pass(key) or LOOSE * ("/" not in key):
                self.passed_over.add(reason, key)
            else:
                infos[key] = info
        if not infos:
            raise ConfigError(f"{url} has no class folders with pictures; they belong in {url.rpartition('/')[2]}/<class>/")
        self.keys = sorted(infos, key=lambda key: (key.partition("/")[0], key))
        self.infos = [infos[key] for key in self.keys]
        self.classes = sorted({key.partition("/")[0] for key in self.keys})
        numbers = {name: number for number, name in enumerate(self.classes)}
        self.labels = [numbers[key.partition("/")[0]] for key in self.keys]

    def __len__(self) -> int:
        return len(self.keys)

    def get(self, index: int) -> bytes:
        if self.infos[index].size > MAX_FILE_BYTES:
            raise too_large(self.infos[index].size, self.infos[index].url)
        return self.cache.read_all(self.infos[index])

    def get_many(self, indices: Sequence[int]) -> list[Record]:
        return [self.get(index) for index in indices]

    def label(self, index: int) -> int:
        return self.labels[index]

    def name(self, index: int) -> str:
        return self.infos[index].url

    def key(self, index: int) -> str:
        return self.keys[index]

    def fingerprint(self) -> str:
        """Return the fingerprint that the same files in a folder of this machine have."""
        digest = sha256("\n".join(self.classes).encode(errors="surrogateescape"))
        for key, info in zip(self.keys, self.infos, strict=True):
            digest.update(f"\0{key}\0{info.size}".encode(errors="surrogateescape"))
        return digest.hexdigest()

    @property
    def stamp(self) -> str:
        """Versions of all files, which change when a file does."""
        return "\n".join(info.tag for info in self.infos)

    def describe(self) -> str:
        """Return a line for the plan: number and size of the pictures."""
        size = sum(info.size for info in self.infos)
        return f"{len(self):,} pictures{f', {size / 1e6:,.1f} MB' if size > 0 else ''} at {self.path}"
