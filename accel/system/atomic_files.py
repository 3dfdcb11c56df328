"""Files that are whole or not at all, and what to say when the disk takes no more."""

from __future__ import annotations

import errno
import hashlib
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from accel.errors import AccelWarning
from accel.system.faults import point

DISK_FULL_REASONS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "a file may not grow that large",
}

MAX_PENDING = 1 << 24
"""Bytes that wait for a full disk, at most: of metrics.jsonl, at 100 bytes each, the lines of 160,000 updates."""


class HashingStream:
    """Bytes on their way into a file, counted and hashed as they pass.

    Once a write has failed, everything further is dropped: torch.save goes on writing whatever it is told, and only its
    own confusion would be reported. Whoever opened the stream raises `error`.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.hash, self.bytes = file, hashlib.sha256(), 0
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        """Writes all of `data` (anything with bytes in it); returns how many there were."""
        view = memoryview(data).cast("B")
        if self.error is None:
            try:
                self.file.write(view)
            except OSError as error:
                self.error = error
            self.hash.update(view)
            self.bytes += len(view)
        return len(view)

    def flush(self) -> None:
        """Nothing: the file is flushed when it is whole."""

    def checksum(self) -> dict[str, Any]:
        """`sha256` (64 hexadecimal digits) and `bytes` of what has passed."""
        return {"sha256": self.hash.hexdigest(), "bytes": self.bytes}


@contextmanager
def replacing(path: Path, place: str = "") -> Iterator[HashingStream]:
    """A stream to a file that appears as `path` when the block ends: at any instant `path` is what it was or what it shall be.

    Args:
        path: the file.
        place: a name for drills (`accel.system.faults`): PLACE.begun, .written, .synced, .moved and .settled.

    Raises:
        OSError: where the disk does not take it; nothing is left of it then.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with temporary.open("wb", buffering=1 << 20) as file:
            point(f"{place}.begun")
            stream = HashingStream(file)
            try:
                yield stream
            finally:
                if stream.error is not None:
                    raise stream.error
            file.flush()
            point(f"{place}.written")
            os.fsync(file.fileno())
        point(f"{place}.synced")
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):  # where closing could not write what was left, the first error is the one to tell
            temporary.unlink(missing_ok=True)
        raise
    point(f"{place}.moved")
    flush_folder(path.parent)
    point(f"{place}.settled")


def write(path: Path, data: bytes | memoryview, place: str = "") -> None:
    """Writes `data` so that `path` is, at any instant, what it was or what it shall be."""
    with replacing(path, place) as stream:
        stream.write(data)


def checksum(path: Path) -> dict[str, Any]:
    """`sha256` and `bytes` of a file."""
    with path.open("rb") as file:
        return {"sha256": hashlib.file_digest(file, "sha256").hexdigest(), "bytes": path.stat().st_size}


def flush_folder(folder: Path) -> None:
    """Brings the names in a folder to the disk: a file that was moved there, or taken away, is so after a power cut."""
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def disk_reason(error: OSError) -> str:
    """What is wrong with the disk, in a few words."""
    return DISK_FULL_REASONS.get(error.errno or 0) or error.strerror or str(error)


def remedy(error: OSError) -> str:
    """What to do about it, in a few words."""
    return "make room on" if error.errno in DISK_FULL_REASONS else "look after"


@contextmanager
def warn_on_disk_error(path: Path) -> Iterator[None]:
    """Around the writing of a file that nobody goes on from: a disk that does not take it is a warning."""
    try:
        yield
    except OSError as error:
        path.unlink(missing_ok=True)
        warnings.warn(f"{path} could not be written: {disk_reason(error)}; training goes on without it", AccelWarning, stacklevel=4)


class AppendLog:
    """A file that grows by whole blocks, with what the disk does not take kept until it does.

    A block that could be written in part only is taken back, so that the file never has a torn line. What waits is kept in
    memory and tried again with each block; there is one warning for each time that the disk begins to refuse. Of that no more is
    kept than `MOST`: what comes after is lost, with a warning, until there is room again.

    Args:
        path: the file; it is made where there is none.
        size: what it is cut to, in bytes, before the first block; None leaves it as it is.
    """

    def __init__(self, path: Path, size: int | None = None) -> None:
        self.path, self.pending = path, bytearray()
        self.disk_error = ""
        """Why the disk does not take what waits; empty where all is well."""
        self.bounded, self.lost_bytes = 0, 0
        """How many of the bytes that wait are blocks that were refused before; and how many bytes are lost."""
        path.touch()
        self.file = path.open("r+b", buffering=0)
        if size is not None:
            self.file.truncate(size)
        self.size = self.file.seek(0, os.SEEK_END)

    def write(self, data: bytes) -> int:
        """Adds a block; it is written by `flush`."""
        self.pending += data
        return len(data)

    def flush(self) -> None:
        """Writes what waits, as far as the disk takes it."""
        if not self.pending:
            return
        try:
            written = 0
            with memoryview(self.pending) as view:
                while written < len(view):
                    written += self.file.write(view[written:])
        except OSError as error:
            self.file.truncate(self.size)
            self.file.seek(self.size)
            if not self.disk_error:
                go_on = "training goes on, and what is missing is written when there is room"
                warnings.warn(f"{self.path} could not be written: {disk_reason(error)}; {go_on}", AccelWarning, stacklevel=2)
            self.disk_error = disk_reason(error)
            self.drop_excess()
        else:
            self.size += len(self.pending)
            self.pending.clear()
            self.disk_error, self.bounded = "", 0

    def drop_excess(self) -> None:
        """Lets go of the last block where too much waits: what was there first stays without a gap."""
        if len(self.pending) <= MAX_PENDING:
            self.bounded = len(self.pending)
            return
        if not self.lost_bytes:
            told = f"{self.path}: {self.disk_error}, and {self.bounded / 2**20:.3g} MiB wait in memory for room"
            warnings.warn(f"{told}; no more is kept, and what comes from now on is lost until then", AccelWarning, stacklevel=3)
        self.lost_bytes += len(self.pending) - self.bounded
        del self.pending[self.bounded :]

    @property
    def incomplete_reason(self) -> str:
        """Why the file is not whole; empty where it is."""
        return self.disk_error or (f"{self.lost_bytes:,} bytes were lost while the disk was full" if self.lost_bytes else "")

    def sync(self) -> None:
        """Waits until what was written is on the disk. Any thread may, also while blocks are added."""
        os.fsync(self.file.fileno())

    def close(self) -> None:
        """Writes what waits, once more, and closes the file."""
        self.flush()
        self.file.close()
