"""LMDB store, and the LMDB files that are open in this process.

Entries of the file: the index of a record, 8 bytes big-endian, to its head and content (`record_format`); `header` to the store's
JSON (`store_info`); `index` to its index (`index`). Any LMDB library can read them.
"""

from __future__ import annotations

import mmap
import os
import threading
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from struct import Struct
from typing import TYPE_CHECKING, Any, ClassVar

from accel.data.stores import lmdb_pages
from accel.data.stores.index import RecordIndex
from accel.data.stores.packed_store import PackedStore
from accel.data.stores.store_info import StoreInfo
from accel.errors import ConfigError
from accel.system.machine import required

if TYPE_CHECKING:
    import lmdb

__all__ = ["ENVIRONMENTS", "HEADER", "INDEX", "KEY", "Environment", "Environments", "FileIdentity", "LMDBStore", "require_lmdb"]

KEY = Struct(">Q")
"""Key of a record: its index, big-endian, so that the order of the keys is that of the records."""
HEADER, INDEX = b"header", b"index"


def require_lmdb() -> Any:
    """Return the package lmdb. Raise ConfigError if it is not installed."""
    with required("an LMDB store needs the package lmdb", "lmdb"):
        import lmdb
    return lmdb


class Environment:
    """LMDB file opened in this process, with one read transaction per thread, which lasts as long as the thread."""

    def __init__(self, path: Path) -> None:
        package = require_lmdb()
        self.error: type[Exception] = package.Error
        try:
            self.env: lmdb.Environment = package.open(
                str(path), subdir=False, readonly=True, lock=False, readahead=False, create=False
            )
        except (self.error, MemoryError) as error:
            raise ConfigError(f"LMDB cannot open the store {path}: {str(error).rpartition(': ')[2]}; pack it again") from None
        self.local = threading.local()
        with open(path, "rb") as file:  # LMDB does not hand out its own: one page keeps the file at hand
            self.file = mmap.mmap(file.fileno(), 1, access=mmap.ACCESS_READ)
        self.size_at_open = self.file.size()

    def get(self, key: bytes) -> memoryview | None:
        """Return the value of a key without a copy, or None if there is none.

        Nobody writes to the file, so the value stays where it is as long as the environment is open.
        """
        try:
            transaction = self.local.transaction
        except AttributeError:
            transaction = self.local.transaction = self.env.begin(buffers=True)
        try:
            value: memoryview | None = transaction.get(key)
        except self.error:  # a tree that leads nowhere has no such record
            return None
        return value


FileIdentity = tuple[int, int, int, int]
"""Device, inode, size and time of the last change: a file that was packed anew in its place is another one."""


class Environments:
    """LMDB files that are open in this process, each once: LMDB does not survive opening one twice."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.open: dict[FileIdentity, Environment] = {}
        self.inherited: dict[FileIdentity, Environment] = {}
        """Files that a parent process had opened. LMDB forbids their use in a child, and opening them before they are closed."""

    def get(self, path: Path) -> Environment:
        """Return the environment of a file, checked and opened if need be.

        Raises:
            ConfigError: If the file is missing, cut short or damaged.
        """
        try:
            status = path.stat()
        except OSError as error:
            raise ConfigError(f"cannot open the store {path}: {error.strerror}") from None
        identity = status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
        with self.lock:
            if identity not in self.open:
                if identity in self.inherited:
                    self.inherited.pop(identity).env.close()
                else:
                    lmdb_pages.check(path)  # which the parent had done
                self.open[identity] = Environment(path)
            return self.open[identity]

    def close(self, environment: Environment) -> None:
        """Close an environment, for everyone in this process."""
        with self.lock:
            self.open = {identity: other for identity, other in self.open.items() if other is not environment}
            environment.env.close()

    def forget_after_fork(self) -> None:
        """In a child process, mark all files as inherited. Another thread of the parent may have held the lock."""
        self.inherited |= self.open
        self.open = {}
        self.lock = threading.Lock()


ENVIRONMENTS = Environments()
os.register_at_fork(after_in_child=ENVIRONMENTS.forget_after_fork)


class LMDBStore(PackedStore):
    """Store in an LMDB file."""

    kind: ClassVar[str] = "LMDBStore"
    format: ClassVar[str] = "lmdb"

    def __init__(self, path: str | PathLike[str]) -> None:
        super().__init__(path)
        self.process = 0

    @property
    def environment(self) -> Environment:
        """Environment of this process."""
        if self.process != os.getpid():
            self._environment = ENVIRONMENTS.get(self.path)
            self.process = os.getpid()
        return self._environment

    def open(self) -> tuple[StoreInfo, RecordIndex]:
        info, dumped = self.environment.get(HEADER), self.environment.get(INDEX)
        if info is None or dumped is None:
            raise ConfigError(f"{self.path} is an LMDB file that accel did not make; pack the data set again")
        index = RecordIndex.load(dumped, info, self.path)
        return StoreInfo.load(info, self.path), index

    def framed_records(self, indices: Sequence[int]) -> list[memoryview]:
        environment = self.environment
        self.check_length(environment.file, environment.size_at_open)
        return [environment.get(KEY.pack(index)) or memoryview(b"") for index in indices]

    def close(self) -> None:
        if self.process == os.getpid():
            ENVIRONMENTS.close(self._environment)
        self.process, self._opened = 0, None
