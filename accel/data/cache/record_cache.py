"""Cache of records in the order of their arrival, in memory or in a file, for any number of threads and processes."""

from __future__ import annotations

import fcntl
import mmap
import os
import threading
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
from accel.system.call_stack import warn_user
from accel.system.own_files import open_own

__all__ = ["CHUNK", "CONTENT_HEAD", "DISABLED", "ENTRY", "HEAD", "MAGIC", "VERIFIED", "RecordCache", "write_all"]

HEAD = Struct("<16sQ64s")
"""The magic; the number of records; the key that they belong to."""
MAGIC = b"accel-kept-1\0\0\0\0"
ENTRY = Struct("<QQIII4x")
"""Place and bytes of a record; height and width of a picture of pixels, else 0; crc32 of these and of the content."""
CONTENT_HEAD = Struct("<QQII")
"""The entry without the crc32."""
DISABLED, VERIFIED = 1, 1
CHUNK = 2**22
"""Bytes that a process allocates for itself at a time, or less if there is little room."""


class RecordCache:
    """Cache of up to `count` records, each there as a whole or not at all.

    A record is written first and entered into the index then, so a process may be killed at any time. If the system itself goes
    down in between, the crc32 tells, and the record counts as absent. The crc32 is compared when a record is first read.
    If the room is used up, or the disk is full, nothing more is added, and one warning is given.

    Args:
        count: of records.
        max_bytes: to use, at most.
        path: the file; None keeps the records in memory, which goes back to the system with the last process that uses it.
        key: names all that the records are a function of, in at most 64 characters.

    Raises:
        OSError: if the file cannot be made or read, or belongs to another key.
    """

    def __init__(self, count: int, max_bytes: int, path: Path | None = None, key: str = "") -> None:
        self.count, self.max_bytes, self.path = count, max_bytes, path
        self.start = HEAD.size + count * ENTRY.size
        if path is None:
            fd = anonymous_file("cache")
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            fd = open_own(path, os.O_RDWR | os.O_CREAT, 0o644)
        self._open(fd)
        head = HEAD.pack(MAGIC, count, key.encode())
        with self._file_lock():
            size = os.fstat(fd).st_size
            if size == 0:
                write_all(fd, memoryview(head + bytes(self.start - HEAD.size)), 0)  # all of it: it is mapped
            elif os.pread(fd, HEAD.size, 0) != head or size < self.start:
                raise OSError(f"{path} is not what was kept there; delete it")
        self.restored = sum(1 for index in range(count) if self._entry(index)[0]) if size else 0
        """Records that an earlier run has left."""

    def _open(self, fd: int) -> None:
        """Take over the descriptor of the file."""
        self.fd = fd
        finalize(self, os.close, fd)
        self._reset_allocation()
        self.flags = mmap.mmap(-1, 1 + self.count)  # shared with the processes forked from here on
        self.index: mmap.mmap | None = None
        self.map: mmap.mmap | None = None

    def _reset_allocation(self) -> None:
        """Forget the bytes that are allocated for this process's next records, and make a new lock."""
        self.pid, self.lock = os.getpid(), threading.Lock()
        self.at = self.end = 0
        """The allocated bytes of the file, which the next records of this process fill."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild_cache, (self.count, self.max_bytes, self.path, DupFd(self.fd))

    def get(self, index: int) -> tuple[memoryview, int, int] | None:
        """Return the content of a record, which nobody may write to, with height and width; None if it is not cached."""
        at, length, height, width, crc = self._entry(index)
        if not at:
            return None
        content = self._view(at, length)
        if content is None:
            return None
        if self.flags[1 + index] != VERIFIED:
            if crc32(content, crc32(CONTENT_HEAD.pack(at, length, height, width))) != crc:
                return None
            self.flags[1 + index] = VERIFIED
        return content, height, width

    def put(self, index: int, content: Any, height: int = 0, width: int = 0) -> bool:
        """Add a record, and return whether there was room for it.

        Args:
            index: of the record.
            content: bytes, or an array without gaps.
            height: of a picture of pixels, else 0.
            width: of a picture of pixels, else 0.
        """
        content = memoryview(content).cast("B")
        if self.full:
            return False
        try:
            at = self._allocate(len(content))
            if at is None:
                return self._disable(f"the {self.max_bytes / 1e9:.2g} GB that it may use are full")
            write_all(self.fd, content, at)
        except OSError as error:  # the disk is full
            return self._disable(str(error.strerror))
        crc = crc32(content, crc32(CONTENT_HEAD.pack(at, len(content), height, width)))
        ENTRY.pack_into(self._entries, HEAD.size + index * ENTRY.size, at, len(content), height, width, crc)
        self.flags[1 + index] = VERIFIED
        return True

    def _allocate(self, length: int) -> int | None:
        """Return the place for a record, in a part of the file that is this process's own; None if there is no more room.

        A part at a time, as each call of the system lets go of Python's lock, and has to wait for it again.
        """
        if self.pid != os.getpid():  # forked: whoever held the lock is not here, and what was set aside is the parent's
            self._reset_allocation()
        with self.lock:
            if self.at + length > self.end:
                with self._file_lock():
                    size = max(os.fstat(self.fd).st_size, self.start)
                    part = max(length, min(CHUNK, self.max_bytes // 256))
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
        return self.flags[0] == DISABLED

    @property
    def bytes_used(self) -> int:
        """Bytes of the file."""
        return os.fstat(self.fd).st_size

    def _disable(self, reason: str) -> bool:
        """Add nothing more from now on, warn once, and return False."""
        with self.lock, self._file_lock():  # one of all threads and processes speaks for them
            first, self.flags[0] = not self.full, DISABLED
        if first:
            where = "memory" if self.path is None else str(self.path)
            message = f"cache: nothing more is kept in {where} ({reason}); the rest is read as before"
            with suppress(AccelWarning):  # where warnings are errors, this is none for who reads a sample
                warn_user(message)
        return False

    @property
    def _entries(self) -> mmap.mmap:
        """The index of the file, mapped for writing."""
        if self.index is None:
            self.index = mmap.mmap(self.fd, self.start)
        return self.index

    def _entry(self, index: int) -> tuple[int, int, int, int, int]:
        """Return place, bytes, height, width and crc32 of a record; all 0 if it is not cached."""
        return ENTRY.unpack_from(self._entries, HEAD.size + index * ENTRY.size)

    def _view(self, at: int, length: int) -> memoryview | None:
        """Return a part of the file; None if the file is cut short. Its length comes first: a missing page would be a SIGBUS."""
        if self.map is None or at + length > len(self.map):
            size = os.fstat(self.fd).st_size
            if at + length > size:
                return None
            self.map = mmap.mmap(self.fd, size, access=mmap.ACCESS_READ)  # an older one stays as long as a view of it
        return memoryview(self.map)[at : at + length]

    @contextmanager
    def _file_lock(self) -> Iterator[None]:
        """Lock the file against all other processes."""
        fcntl.lockf(self.fd, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.lockf(self.fd, fcntl.LOCK_UN)


def write_all(fd: int, content: memoryview, at: int) -> None:
    """Write all of `content` at place `at`.

    Raises:
        OSError: if there is no room.
    """
    written = 0
    while written < len(content):
        written += os.pwrite(fd, content[written:], at + written)


def _rebuild_cache(count: int, max_bytes: int, path: Path | None, passed: Any) -> RecordCache:
    """Return the cache of another process, in the process to which it was sent."""
    cache = RecordCache.__new__(RecordCache)
    cache.count, cache.max_bytes, cache.path, cache.restored = count, max_bytes, path, 0
    cache.start = HEAD.size + count * ENTRY.size
    cache._open(passed.detach())
    return cache
