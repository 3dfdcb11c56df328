"""A file that grows by whole blocks, also on a disk that is full for a while."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from accel.system.call_stack import warn_user
from accel.system.disk_errors import disk_reason
from accel.system.own_files import create_own

__all__ = ["MAX_PENDING", "AppendLog"]

MAX_PENDING = 1 << 24
"""Bytes that wait for a full disk, at most: the lines of 160,000 updates in metrics.jsonl, at 100 bytes each."""


class AppendLog:
    """A file that grows by whole blocks, and keeps in memory the blocks that the disk refuses.

    A block of which only a part could be written is taken back, so the file never has a torn line. Pending blocks are tried
    again with each new block. There is one warning each time that the disk begins to refuse. At most `MAX_PENDING` bytes are
    kept: later blocks are lost, with a warning, until there is room again.

    Args:
        path: the file; it is created if it does not exist.
        size: the length in bytes to which the file is cut before the first block; None leaves it as it is.

    Raises:
        OSError: if the file cannot be opened.
    """

    def __init__(self, path: Path, size: int | None = None) -> None:
        self.path, self.pending = path, bytearray()
        self.disk_error = ""
        """Why the disk refuses the pending blocks; empty if it does not."""
        self.bounded, self.lost_bytes = 0, 0
        """How many pending bytes are of blocks that were refused before; and how many bytes are lost."""
        self.file = open(path, "r+b", buffering=0, opener=create_own)  # noqa: SIM115
        if size is not None:
            self.file.truncate(size)
        self.size = self.file.seek(0, os.SEEK_END)

    def write(self, data: bytes) -> int:
        """Add a block, which `flush` writes, and return its length in bytes."""
        self.pending += data
        return len(data)

    def flush(self) -> None:
        """Write the pending blocks, if the disk takes them; warn once if it does not."""
        if not self.pending:
            return
        try:
            written = 0
            with memoryview(self.pending) as view:
                while written < len(view):
                    written += self.file.write(view[written:])
        except OSError as error:
            with suppress(OSError):  # a disk that is failing; the next try writes over it
                self.file.truncate(self.size)
            self.file.seek(self.size)
            if not self.disk_error:
                go_on = "training goes on, and what is missing is written when there is room"
                warn_user(f"{self.path} could not be written: {disk_reason(error)}; {go_on}", again=True)
            self.disk_error = disk_reason(error)
            self.drop_excess()
        else:
            self.size += len(self.pending)
            self.pending.clear()
            self.disk_error, self.bounded = "", 0

    def drop_excess(self) -> None:
        """Drop the last block if too many bytes are pending: the blocks before it stay without a gap."""
        if len(self.pending) <= MAX_PENDING:
            self.bounded = len(self.pending)
            return
        if not self.lost_bytes:
            state = f"{self.path}: {self.disk_error}, and {self.bounded / 2**20:.3g} MiB wait in memory for room"
            warn_user(f"{state}; no more is kept, and what comes from now on is lost until then", again=True)
        self.lost_bytes += len(self.pending) - self.bounded
        del self.pending[self.bounded :]

    @property
    def incomplete_reason(self) -> str:
        """Why the file is not complete; empty if it is."""
        return self.disk_error or (f"{self.lost_bytes:,} bytes were lost while the disk was full" if self.lost_bytes else "")

    def sync(self) -> None:
        """Wait until the written blocks are on the disk. Any thread may call it, also while blocks are added."""
        os.fsync(self.file.fileno())

    def close(self) -> None:
        """Write the pending blocks once more, and close the file."""
        self.flush()
        self.file.close()
