"""A file that is read in pieces, by several threads and processes at once."""

from __future__ import annotations

import os
import threading
from typing import Protocol

from accel.errors import ConfigError

__all__ = ["LocalFile", "Pieces", "Reader"]


class Pieces(Protocol):
    """A file of which pieces are read, wherever it lies."""

    name: str
    """What to call it in a message."""
    size: int
    """Bytes."""
    stamp: str
    """Another one when the file was changed."""

    def read(self, offset: int, size: int) -> bytes:
        """So many bytes from `offset` on. Raises ConfigError where they cannot be had."""
        ...


class LocalFile:
    """A file of this machine, opened when first read. A process to which it is pickled opens it anew.

    Args:
        name: its path.
        keep: whether it stays open; else it is opened for each piece, as where there are more files than a process may hold.

    Raises:
        ConfigError: where it is not there, cannot be read, or is changed or cut short while it is used.
    """

    def __init__(self, name: str, keep: bool = True) -> None:
        self.name, self.keep = name, keep
        try:
            status = os.stat(name)
        except OSError as error:
            raise ConfigError(f"cannot read {name}: {error.strerror}") from None
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
            found = os.pread(file, size, offset)
        except OSError as error:
            raise ConfigError(f"cannot read {self.name}: {error.strerror}") from None
        finally:
            if file >= 0 and file != self.file:
                os.close(file)
        if len(found) < size and offset + size <= self.size:
            raise ConfigError(f"{self.name} was cut short while it was read: it ends before byte {offset + size:,}; copy it again")
        return found

    def _open(self) -> int:
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
    return f"{status.st_size} {status.st_mtime_ns}"


class Reader:
    """Reads a file from its beginning to its end in few large pieces, of which small ones are asked for; skipped ones are not read.

    Args:
        file: what is read.
        piece: bytes that are read at once.
    """

    def __init__(self, file: Pieces, piece: int = 1 << 16) -> None:
        self.file, self.piece = file, piece
        self.start, self.held = 0, b""

    def read(self, offset: int, size: int) -> bytes:
        """So many bytes from `offset` on; fewer where the file ends."""
        at = offset - self.start
        if at < 0 or at + size > len(self.held):
            self.start, self.held = offset, self.file.read(offset, min(max(size, self.piece), self.file.size - offset))
            at = 0
        return self.held[at : at + size]
