"""Files that are read by byte ranges, by several threads and processes at once."""

from __future__ import annotations

import os
import stat
import threading
from typing import Protocol

from accel.data.file_access import file_kind
from accel.errors import ConfigError

__all__ = ["BufferedReader", "LocalFile", "RandomAccessFile"]


class RandomAccessFile(Protocol):
    """File of which any byte range can be read, wherever it lies."""

    name: str
    """Name for messages."""
    size: int
    """Bytes of the file."""
    stamp: str
    """Version of the file, which changes when the file does."""

    def read(self, offset: int, size: int) -> bytes:
        """Return `size` bytes from `offset` on; fewer if the file ends.

        Raises:
            ConfigError: If they cannot be read.
        """
        ...


class LocalFile:
    """File of this machine, opened when first read. A process to which it is pickled opens it anew.

    Args:
        name: Path of the file.
        keep: Whether it stays open. Otherwise it is opened for each read, as for more files than a process may hold.

    Raises:
        ConfigError: If it does not exist, cannot be read, or is changed or cut short while it is used.
    """

    def __init__(self, name: str, keep: bool = True) -> None:
        self.name, self.keep = name, keep
        try:
            status = os.stat(name)
        except OSError as error:
            raise ConfigError(f"cannot read {name}: {error.strerror}") from None
        if not stat.S_ISREG(status.st_mode):  # to open a pipe would wait for its other end
            raise ConfigError(f"cannot read {name}: it is {file_kind(status.st_mode)} and no file; name another, or take it away")
        self.size, self.stamp = status.st_size, _stamp(status)
        self.lock, self.file = threading.Lock(), -1

    def __reduce__(self) -> tuple[type[LocalFile], tuple[str, bool]]:
        return type(self), (self.name, self.keep)

    def __del__(self) -> None:
        if getattr(self, "file", -1) >= 0:
            os.close(self.file)

    def read(self, offset: int, size: int) -> bytes:
        file = -1
        try:
            file = self.file if self.file >= 0 else self._open()
            content = os.pread(file, size, offset)
        except OSError as error:
            raise ConfigError(f"cannot read {self.name}: {error.strerror}") from None
        finally:
            if file >= 0 and file != self.file:
                os.close(file)
        if len(content) < size and offset + size <= self.size:
            raise ConfigError(f"{self.name} was cut short while it was read: it ends before byte {offset + size:,}; copy it again")
        return content

    def _open(self) -> int:
        """Return a descriptor of the file, and check that the file was not changed."""
        with self.lock:
            if self.file >= 0:
                return self.file
            file = os.open(self.name, os.O_RDONLY)
            if _stamp(os.fstat(file)) != self.stamp:
                os.close(file)
                raise ConfigError(f"{self.name} was changed while it was used; start again")
            if self.keep:
                self.file = file
        return file


def _stamp(status: os.stat_result) -> str:
    """Return size in bytes and time of the last change, in words."""
    return f"{status.st_size} {status.st_mtime_ns}"


class BufferedReader:
    """Reader of a file from its beginning to its end, in few large reads that serve small ones; skipped bytes are not read.

    Args:
        file: File to read.
        buffer_size: Bytes of a large read.
    """

    def __init__(self, file: RandomAccessFile, buffer_size: int = 1 << 16) -> None:
        self.file, self.buffer_size = file, buffer_size
        self.start, self.buffer = 0, b""

    def read(self, offset: int, size: int) -> bytes:
        """Return `size` bytes from `offset` on; fewer if the file ends."""
        at = offset - self.start
        if at < 0 or at + size > len(self.buffer):
            self.start = offset
            self.buffer = self.file.read(offset, min(max(size, self.buffer_size), self.file.size - offset))
            at = 0
        return self.buffer[at : at + size]
