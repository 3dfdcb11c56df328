"""Records in the order in which they came, in memory or in a file, written and read by any number of threads and processes."""

from __future__ import annotations

import fcntl
import mmap
import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.reduction import DupFd
from pathlib import Path
from struct import Struct
from typing import Any
from weakref import finalize
from zlib import crc32

from accel.errors import AccelWarning
from accel.system.anonymous_file import anonymous_file

__all__ = ["CHECKED", "ENTRY", "HEAD", "MAGIC", "PART", "REST", "SHUT", "RecordCache", "write"]

HEAD = Struct("<16sQ64s")
"""What it is; how many records there may be; what they are a function of."""
MAGIC = b"accel-kept-1\0\0\0\0"
ENTRY = Struct("<QQIII4x")
"""Where a record stands and its bytes; height and width of a picture of pixels, else 0; crc32 of these and of the content."""
REST = Struct("<QQII")
"""The same without the crc32."""
SHUT, CHECKED = 1, 1
PART = 2**22
"""Bytes that a process sets aside for itself at a time, or less where there is little room."""


class RecordCache:
    """Room for `count` records, each there as a whole or not at all.

    A record is written first and entered into the index then, so that a process may be killed at any time; where the system itself
    goes down in between, the crc32 tells, and the record counts as absent. The crc32 is compared when a record is first read.
    When the room is used up, or the disk is full, nothing more is added, and one warning says so.

    Args:
        count: of records.
        room: bytes to use, at most.
        path: the file; None keeps the records in memory, which goes back to the system with the last process that uses it.
        of: what the records are a function of, at most 64 characters.

    Raises:
        OSError: where the file cannot be made or read, or is of something else.
    """

    def __init__(self, count: int, room: int, path: Path | None = None, of: str = "") -> None:
        self.count, self.max_bytes, self.path = count, room, path
        self.start = HEAD.size + count * ENTRY.size
        if path is None:
            fd = anonymous_file("cache")
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        self._adopt(fd)
        head = HEAD.pack(MAGIC, count, of.encode())
        with self._alone():
            size = os.fstat(fd).st_size
            if size == 0:
                write(fd, memoryview(head + bytes(self.start - HEAD.size)), 0)  # all of it: it is mapped
            elif os.pread(fd, HEAD.size, 0) != head or size < self.start:
                raise OSError(f"{path} is not what was kept there; delete it")
        self.found = sum(1 for index in range(count) if self._entry(index)[0]) if size else 0
        """How many records an earlier run has left."""

    def _adopt(self, fd: int) -> None:
        self.fd = fd
        finalize(self, os.close, fd)
        self._begin()
        self.board = mmap.mmap(-1, 1 + self.count)  # shared with the processes forked from here on
        self.index: mmap.mmap | None = None
        self.map: mmap.mmap | None = None

    def _begin(self) -> None:
        self.pid, self.lock = os.getpid(), threading.Lock()
        self.at = self.end = 0
        """What this process has set aside for its next records."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (self.count, self.max_bytes, self.path, DupFd(self.fd))

    def get(self, index: int) -> tuple[memoryview, int, int] | None:
        """The content of a record, which nobody may write to, and height and width; None where there is none."""
        at, length, height, width, crc = self._entry(index)
        if not at:
            return None
        content = self._view(at, length)
        if content is None:
            return None
        if self.board[1 + index] != CHECKED:
            if crc32(content, crc32(REST.pack(at, length, height, width))) != crc:
                return None
            self.board[1 + index] = CHECKED
        return content, height, width

    def put(self, index: int, content: Any, height: int = 0, width: int = 0) -> bool:
        """Keeps a record, unless there is no room for it.

        Args:
            content: bytes, or an array without gaps.
        """
        content = memoryview(content).cast("B")
        if self.full:
            return False
        try:
            at = self._allocate(len(content))
            if at is None:
                return self._disable(f"the {self.max_bytes / 1e9:.2g} GB that it may use are full")
            write(self.fd, content, at)
        except OSError as error:  # the disk is full
            return self._disable(str(error.strerror))
        crc = crc32(content, crc32(REST.pack(at, len(content), height, width)))
        ENTRY.pack_into(self._entries, HEAD.size + index * ENTRY.size, at, len(content), height, width, crc)
        self.board[1 + index] = CHECKED
        return True

    def _allocate(self, length: int) -> int | None:
        """Where a record goes, in a part of the file that is this process's own; None where there is no more room.

        A part at a time, as each call of the system lets go of Python's lock, and has to wait for it again.
        """
        if self.pid != os.getpid():  # forked: whoever held the lock is not here, and what was set aside is the parent's
            self._begin()
        with self.lock:
            if self.at + length > self.end:
                with self._alone():
                    size = max(os.fstat(self.fd).st_size, self.start)
                    part = max(length, min(PART, self.max_bytes // 256))
                    part = part if size + part <= self.max_bytes else length
                    if size + part > self.max_bytes:
                        return None
                    os.ftruncate(self.fd, size + part)
                self.at, self.end = size, size + part
            self.at += length
            return self.at - length

    @property
    def full(self) -> bool:
        """Whether nothing more is added."""
        return self.board[0] == SHUT

    @property
    def used(self) -> int:
        """Bytes."""
        return os.fstat(self.fd).st_size

    def _disable(self, why: str) -> bool:
        with self.lock, self._alone():  # one of all threads and processes speaks for them
            first, self.board[0] = not self.full, SHUT
        if first:
            where = "memory" if self.path is None else str(self.path)
            said = f"cache: nothing more is kept in {where} ({why}); the rest is read as before"
            with suppress(AccelWarning):  # where warnings are errors, this is none for who reads a sample
                warnings.warn(said, AccelWarning, stacklevel=2)
        return False

    @property
    def _entries(self) -> mmap.mmap:
        if self.index is None:
            self.index = mmap.mmap(self.fd, self.start)
        return self.index

    def _entry(self, index: int) -> tuple[int, int, int, int, int]:
        return ENTRY.unpack_from(self._entries, HEAD.size + index * ENTRY.size)

    def _view(self, at: int, length: int) -> memoryview | None:
        """A part of the file; None where it is cut short. The length is looked at before: a missing page would be a SIGBUS."""
        if self.map is None or at + length > len(self.map):
            have = os.fstat(self.fd).st_size
            if at + length > have:
                return None
            self.map = mmap.mmap(self.fd, have, access=mmap.ACCESS_READ)  # an older one stays as long as a view of it
        return memoryview(self.map)[at : at + length]

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """No other process is in here."""
        fcntl.lockf(self.fd, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.lockf(self.fd, fcntl.LOCK_UN)


def write(fd: int, content: memoryview, at: int) -> None:
    """All of it. Raises OSError where there is no room."""
    written = 0
    while written < len(content):
        written += os.pwrite(fd, content[written:], at + written)


def _again(count: int, room: int, path: Path | None, passed: Any) -> RecordCache:
    """The same in a process to which it was sent."""
    kept = RecordCache.__new__(RecordCache)
    kept.count, kept.max_bytes, kept.path, kept.found = count, room, path, 0
    kept.start = HEAD.size + count * ENTRY.size
    kept._adopt(passed.detach())
    return kept
