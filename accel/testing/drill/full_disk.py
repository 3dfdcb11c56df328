"""A disk that is full for some writes and not for others."""

from __future__ import annotations

import builtins
import errno
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["FullDisk", "path_of"]


class FullDisk:
    """A disk on which, in this process and from now on, writes below a folder are counted and some fail with ENOSPC.

    A write that fails has written half of its data, as on a full disk. It sees writes through Python's files, `os.write` and
    `os.fsync`.

    Args:
        folder: the folder.
        first: the first write that fails, from 0.
        count: the number of writes that fail; the disk has room again after them.
    """

    def __init__(self, folder: Path, first: int, count: int) -> None:
        self.folder, self.first, self.end = str(folder.resolve()), first, first + count
        self.writes = self.failed = 0
        disk, original_open, original_write, original_fsync = self, io.open, os.write, os.fsync

        class File(io.FileIO):
            def write(self, data: Any) -> int:
                view = memoryview(data).cast("B")
                disk.count_write(lambda: io.FileIO.write(self, view[: len(view) // 2]))
                return super().write(view)

        def open_(file: Any, mode: str = "r", buffering: int = -1, encoding: Any = None, errors: Any = None, newline: Any = None,
                  closefd: bool = True, opener: Any = None) -> Any:  # fmt: skip
            if isinstance(file, int) or not set(mode) & set("wax+") or not disk.contains(os.fsdecode(file)):
                return original_open(file, mode, buffering, encoding, errors, newline, closefd, opener)
            raw = File(file, mode.replace("b", "").replace("t", ""), closefd, opener)
            if buffering == 0:
                return raw
            buffered = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
            return buffered if "b" in mode else io.TextIOWrapper(buffered, encoding, errors, newline)

        def write(fd: int, data: Any) -> int:
            if disk.contains(path_of(fd)):
                disk.count_write(lambda: original_write(fd, data[: len(data) // 2]))
            return original_write(fd, data)

        def fsync(fd: Any) -> None:
            number = fd if isinstance(fd, int) else fd.fileno()
            if disk.contains(path_of(number)) and os.path.isfile(path_of(number)):
                disk.count_write(lambda: None)
            original_fsync(fd)

        builtins.open = io.open = open_
        os.write, os.fsync = write, fsync

    def contains(self, path: str) -> bool:
        """Return whether a file is on the disk."""
        return os.path.abspath(path).startswith(self.folder + os.sep)

    def count_write(self, half: Callable[[], Any]) -> None:
        """Count a write.

        Args:
            half: writes half of the data; called if the write fails.

        Raises:
            OSError: if the disk is full.
        """
        number = self.writes
        self.writes += 1
        if self.first <= number < self.end:
            self.failed += 1
            half()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def path_of(fd: int) -> str:
    """Return the path of the file that is open as `fd`; empty if it has none."""
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        return ""
