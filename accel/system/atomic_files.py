"""Files that are replaced, or made, as a whole or not at all."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from threading import get_ident
from typing import IO, Any

from accel.system.faults import point
from accel.system.own_files import open_own

__all__ = ["HashingStream", "checksum", "create_file", "flush_folder", "replacing", "swapped_in", "write"]


class HashingStream:
    """A stream into a file that counts and hashes the bytes on their way.

    After a write has failed, everything further is dropped: torch.save goes on writing, and would report only its own
    confusion. Whoever opened the stream raises `error`.

    Args:
        file: the binary file that takes the bytes.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.hash, self.bytes = file, hashlib.sha256(), 0
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        """Write all of `data`, any object with a buffer, and return its length in bytes."""
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
        """Do nothing: the file is flushed when it is complete."""

    def checksum(self) -> dict[str, Any]:
        """Return `sha256` (64 hexadecimal digits) and `bytes` of the data written so far."""
        return {"sha256": self.hash.hexdigest(), "bytes": self.bytes}


@contextmanager
def replacing(path: Path, place: str = "") -> Iterator[HashingStream]:
    """Yield a stream to a file that replaces `path` when the block ends: at any instant `path` is the old file or the new.

    Args:
        path: the file.
        place: the name of the fault points (`accel.system.faults`): PLACE.begun, .written, .synced, .moved and .settled.

    Yields:
        The stream, which also knows size and hash.

    Raises:
        OSError: if the disk does not take the file; nothing of it is left then.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        temporary.unlink(missing_ok=True)  # of a process that was killed; or a link, which must not be followed
        with open(temporary, "xb", buffering=1 << 20, opener=open_own) as file:
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
        with suppress(OSError):  # if closing could not write the rest, the first error is the one to raise
            temporary.unlink(missing_ok=True)
        raise
    point(f"{place}.moved")
    flush_folder(path.parent)
    point(f"{place}.settled")


def write(path: Path, data: bytes | memoryview, place: str = "") -> None:
    """Replace `path` by a file of `data`: at any instant it is the old file or the new.

    Args:
        path: the file.
        data: its content.
        place: the name of the fault points, as with `replacing`.

    Raises:
        OSError: if the disk does not take the file.
    """
    with replacing(path, place) as stream:
        stream.write(data)


def checksum(path: Path) -> dict[str, Any]:
    """Return `sha256` (64 hexadecimal digits) and `bytes` of a file. Raise OSError if it cannot be read."""
    with path.open("rb") as file:
        return {"sha256": hashlib.file_digest(file, "sha256").hexdigest(), "bytes": path.stat().st_size}


def flush_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk, so that files moved there or removed are so after a power cut."""
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


@contextmanager
def swapped_in(path: Path) -> Iterator[Path]:
    """Yield a path beside `path` to write a file to, which becomes `path` when the block ends.

    The path is this thread's alone, hidden, and cannot be guessed; many processes may write one file at once. Nothing is flushed:
    it is for files that can be made again, such as those of a cache. If the block raises, the new file is removed.
    """
    temporary = path.with_name(f".{os.getpid()}-{get_ident()}-{token_hex(8)}.{path.name}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        with suppress(OSError):
            temporary.unlink()


def create_file(path: Path, data: bytes, place: str = "") -> None:
    """Make a file that is not there: at any instant it is whole or not there, and nothing else is left, however the process ends.

    Until it is whole, it has no name, where the system can do that (Linux, on most disks). Elsewhere a hidden file beside it is
    left if the process is killed meanwhile. Folders that lack are made last of all, and removed if they cannot take it.

    Args:
        path: the file.
        data: its content.
        place: name of the fault points (`accel.system.faults`): PLACE.written and .named.

    Raises:
        FileExistsError: if anything is there, a link that leads nowhere too.
        OSError: if the disk does not take the file; nothing of it is left then.
    """
    made: list[Path] = []
    try:
        if not _create_nameless(path, data, place, made):
            _create_hidden(path, data, made)
    except BaseException:
        for folder in reversed(made):
            with suppress(OSError):
                folder.rmdir()
        raise
    point(f"{place}.named")
    flush_folder(path.parent)


def _create_hidden(path: Path, data: bytes, made: list[Path]) -> None:
    """Write a file with another name, and give it its own."""
    _make_folders(path.parent, made)
    temporary = path.with_name(f".{token_hex(8)}.{path.name}")
    try:
        with open(temporary, "xb", opener=open_own) as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.link(temporary, path)
    finally:
        with suppress(OSError):
            temporary.unlink()


def _make_folders(folder: Path, made: list[Path]) -> None:
    """Make a folder and those above it, as far as they lack, and add each to `made`."""
    if not folder.exists():
        _make_folders(folder.parent, made)
        folder.mkdir(exist_ok=True)
        made.append(folder)


def _create_nameless(path: Path, data: bytes, place: str, made: list[Path]) -> bool:
    """Write a file without a name, and give it its name; return False where the system has no such files."""
    folder = path.parent
    while not folder.exists():
        folder = folder.parent
    try:
        number = os.open(folder, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o666)
    except (AttributeError, OSError):  # no such flag in this system, or on this disk
        return False
    with open(number, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(number)
        point(f"{place}.written")
        _make_folders(path.parent, made)
        try:
            os.link(f"/proc/self/fd/{number}", path, follow_symlinks=True)
        except FileExistsError:
            raise
        except OSError:  # no /proc, say
            return False
    return True
