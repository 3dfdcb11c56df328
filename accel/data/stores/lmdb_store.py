"""Reading an LMDB store."""

from __future__ import annotations

import mmap
import os
import threading
from pathlib import Path
from struct import Struct
from typing import TYPE_CHECKING, Any, ClassVar

from accel.data.stores import lmdb_pages
from accel.data.stores.index import About, Index
from accel.data.stores.packed_store import Packed
from accel.errors import ConfigError

if TYPE_CHECKING:
    import lmdb

__all__ = ["HEADER", "INDEX", "KEY", "OPEN", "Environment", "Environments", "LMDBStore", "Place", "require_lmdb"]

KEY = Struct(">Q")
"""Of a record: its index, so that the order of the keys is that of the records."""
HEADER, INDEX = b"header", b"index"


def require_lmdb() -> Any:
    """The package. Raises ConfigError where it is not installed."""
    try:
        import lmdb
    except ModuleNotFoundError:
        raise ConfigError("an LMDB store needs the package lmdb: pip install 'accel-train[lmdb]'") from None
    return lmdb


class Environment:
    """An LMDB file opened in this process. One read transaction per thread, which lasts as long as the thread."""

    def __init__(self, path: Path) -> None:
        self.env: lmdb.Environment = require_lmdb().open(
            str(path), subdir=False, readonly=True, lock=False, readahead=False, create=False
        )
        self.local = threading.local()
        with open(path, "rb") as file:  # LMDB does not hand out its own: one page keeps the file at hand
            self.file = mmap.mmap(file.fileno(), 1, access=mmap.ACCESS_READ)
        self.have = self.file.size()

    def get(self, key: bytes) -> memoryview | None:
        """The value, without a copy: nobody writes to the file, so it stays where it is as long as the environment is open."""
        try:
            transaction = self.local.transaction
        except AttributeError:
            transaction = self.local.transaction = self.env.begin(buffers=True)
        found: memoryview | None = transaction.get(key)
        return found


Place = tuple[int, int, int, int]
"""Device, inode, size and time of the last change: a file that was packed anew in its place is another one."""


class Environments:
    """The LMDB files that are open in this process, each once: LMDB does not survive opening one twice."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.open: dict[Place, Environment] = {}
        self.inherited: dict[Place, Environment] = {}
        """What a parent process had opened. LMDB forbids its use in a child, and opening it anew before it is closed."""

    def at(self, path: Path) -> Environment:
        """The one of `path`, checked and opened if need be."""
        try:
            status = path.stat()
        except OSError as error:
            raise ConfigError(f"cannot open the store {path}: {error.strerror}") from None
        place = status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
        with self.lock:
            if place not in self.open:
                if place in self.inherited:
                    self.inherited.pop(place).env.close()
                else:
                    lmdb_pages.check(path)  # which the parent had done
                self.open[place] = Environment(path)
            return self.open[place]

    def close(self, environment: Environment) -> None:
        """Closes it, for everyone in this process."""
        with self.lock:
            self.open = {place: found for place, found in self.open.items() if found is not environment}
            environment.env.close()

    def forked(self) -> None:
        """In a child process: takes note of that. Another thread of the parent may have held the lock."""
        self.inherited |= self.open
        self.open = {}
        self.lock = threading.Lock()


OPEN = Environments()
os.register_at_fork(after_in_child=OPEN.forked)


class LMDBStore(Packed):
    """The records of an LMDB file, which any LMDB library can read: 8 bytes of index, big-endian, to head and content."""

    format: ClassVar[str] = "lmdb"

    def __init__(self, path: Path | str) -> None:
        super().__init__(path)
        self.process = 0

    @property
    def environment(self) -> Environment:
        """That of this process."""
        if self.process != os.getpid():
            self._environment = OPEN.at(self.path)
            self.process = os.getpid()
        return self._environment

    def open(self) -> tuple[About, Index]:
        header, index = self.environment.get(HEADER), self.environment.get(INDEX)
        if header is None or index is None:
            raise ConfigError(f"{self.path} is an LMDB file that accel did not make; pack the data set again")
        found = Index.load(index, header, self.path)
        return About.load(header, self.path), found

    def sealed(self, index: int) -> memoryview:
        environment = self.environment
        self.stands(environment.file, environment.have)
        return environment.get(KEY.pack(index)) or memoryview(b"")

    def close(self) -> None:
        if self.process == os.getpid():
            OPEN.close(self._environment)
        self.process, self._opened = 0, None
