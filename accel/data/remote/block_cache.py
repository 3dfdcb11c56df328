"""Cache on disk of files at URLs, shared by threads, processes and ranks.

A file of the cache is a block of a file, or all of it: `<folder>/<2 digits>/<32 digits>.<number of the block, or "file">`. The
digits are the first of the SHA-256 of URL, size, tag and block size. Hidden files are being written. `<digit>.lock` are locks.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path

from accel.data.remote import fsspec_client
from accel.data.remote.fsspec_client import FileInfo
from accel.errors import ConfigError, TrainingError
from accel.system import atomic_files
from accel.system.cache_directory import cache_directory
from accel.system.call_stack import warn_user
from accel.system.own_files import open_own

__all__ = ["ABANDONED", "BLOCK", "TOUCH_INTERVAL", "BlockCache", "local_copy"]

BLOCK = 8 << 20
"""Bytes of a file that are fetched at once."""
TOUCH_INTERVAL = 600
"""Seconds in which a file that is used again is not marked as used again."""
ABANDONED = 86_400
"""Seconds after which an unfinished file is of a process that died."""


class BlockCache:
    """Cache of files at URLs, fetched in blocks when they are first read, and kept on this machine's disk.

    A block is written under another name and moved into place, so that nobody sees half of one. If another thread, process or rank
    fetches a block already, its result is waited for. A file that was changed at its URL, by its size or its tag, is another one.
    When the budget is spent, the files that were not used for longest are removed.

    Args:
        folder: Folder of the cache; auto: in the user's cache directory.
        budget: Bytes that are kept, about; None for half of what the disk has left.
        tries: Attempts, if the network fails.
        block: Bytes of a block.

    Raises:
        ConfigError: If the budget is below one block.
    """

    def __init__(
        self, folder: str = "auto", budget: int | None = None, tries: int = fsspec_client.TRIES, block: int = BLOCK
    ) -> None:
        self.folder = cache_directory("auto") / "remote" if folder == "auto" else Path(folder).expanduser()
        if budget is not None and budget < block:
            raise ConfigError(f"the cache of remote files takes {block / 1e9:g} GB or more, and not {budget / 1e9:g}")
        self.budget, self.tries, self.block = budget, tries, block
        self.bytes_since_scan = -1
        """Bytes that this process has kept since it last scanned the folder; -1 before its first scan."""
        self.open_files: list[int] = []
        """Descriptors of the files that `local_path` gave."""

    def __reduce__(self) -> tuple[type[BlockCache], tuple[str, int | None, int, int]]:
        return type(self), (str(self.folder), self.budget, self.tries, self.block)

    def read(self, file: FileInfo, offset: int, size: int) -> bytes:
        """Return `size` bytes of a file from `offset` on. Errors are those of `fsspec_client.with_retries`."""
        end, parts = offset + size, []
        while offset < end:
            number, at = divmod(offset, self.block)
            part = self._read_block(file, number, at, min(end - offset, self.block - at))
            parts.append(part)
            offset += len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def read_all(self, file: FileInfo) -> bytes:
        """Return all bytes of a file, also if its size is not known. Errors are those of `fsspec_client.with_retries`."""
        return self.read(file, 0, file.size) if file.size >= 0 else self._read_block(file, 0, 0, -1)

    def local_path(self, file: FileInfo) -> Path:
        """Return a file of this machine with all bytes of a file, which stays as long as this process lives.

        Raises:
            ConfigError: If the file is larger than the budget, or cannot be kept.
            TrainingError: If the file cannot be reached, or is changed meanwhile.
        """
        place = self._place(file, -1)
        while True:
            with self._locked(place):
                if not place.exists():
                    self._fetch_whole(place, file)
                opened = os.open(place, os.O_RDONLY)
                fcntl.flock(opened, fcntl.LOCK_SH)  # who makes room leaves it alone
                self.open_files.append(opened)
                return place

    def _read_block(self, file: FileInfo, number: int, at: int, size: int) -> bytes:
        """Return bytes of one block; the whole block if `size` is -1."""
        place = self._place(file, number)
        content = _pread(place, at, size)
        if content is None:
            with self._locked(place):
                content = _pread(place, at, size)  # another may have fetched it meanwhile
                if content is None:
                    block = self._fetch(file, number)
                    self._write(place, lambda path: path.write_bytes(block), len(block))
                    content = block[at : at + size] if size >= 0 else block
        return content

    def _fetch(self, file: FileInfo, number: int) -> bytes:
        """Return one block of a file, from its URL; the whole file if its size is not known."""
        start = number * self.block
        if file.size < 0:
            return fsspec_client.read_range(file.url, 0, None, self.tries)
        end = min(start + self.block, file.size)
        single = file.size <= self.block
        content = fsspec_client.read_range(file.url, start, None if single else end, self.tries) if end > start else b""
        if not single and len(content) == file.size:  # the server knows no ranges, and gave all
            content = content[start:end]
        if len(content) != end - start or (not single and fsspec_client.file_info(file.url, self.tries)[1:] != file[1:]):
            raise TrainingError(f"{file.url} was changed while it was read: it had {file.size:,} bytes; start again")
        return content

    def _fetch_whole(self, place: Path, file: FileInfo) -> None:
        """Write all of a file to its place."""
        if self.budget is not None and file.size > self.budget:
            raise ConfigError(
                f"{file.url} has {file.size / 1e9:.3g} GB, and the cache of remote files {self.budget / 1e9:.3g}; give it more"
            )

        def write(path: Path) -> None:
            with path.open("wb") as stream:
                for number in range(-(-file.size // self.block)):
                    stream.write(self._fetch(file, number))

        if not self._write(place, write, file.size):
            raise ConfigError(f"{file.url} cannot be kept in {self.folder}, and is to be read from a file; make room there")

    def _place(self, file: FileInfo, number: int) -> Path:
        """Return the place of a block, or of the whole file if `number` is -1."""
        key = sha256(f"{file.url}\0{file.size}\0{file.tag}\0{self.block}".encode(errors="surrogateescape")).hexdigest()
        return self.folder / key[:2] / f"{key[2:34]}.{'file' if number < 0 else number}"

    @contextmanager
    def _locked(self, place: Path) -> Iterator[None]:
        """Hold the lock of a place, against all threads and processes of this machine."""
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            lock = open_own(place.with_name(f"{place.name[:1]}.lock"), os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise ConfigError(
                f"the cache of remote files cannot be kept in {self.folder}: {error.strerror}; name another"
            ) from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _write(self, place: Path, write: Callable[[Path], object], size: int) -> bool:
        """Put a file into its place, whole or not at all; return whether it could be written."""
        try:
            with atomic_files.swapped_in(place) as temporary:
                self._make_room(size)
                write(temporary)
            return True
        except OSError as error:
            warn_user(f"the cache {self.folder} cannot be written ({error.strerror}); nothing is kept")
            return False

    def _make_room(self, size: int) -> None:
        """Remove the files that were not used for longest, if `size` more bytes would exceed the budget."""
        if 0 <= self.bytes_since_scan + size <= (self.budget or 1 << 34) // 16 and self.bytes_since_scan >= 0:
            self.bytes_since_scan += size
            return
        files = sorted((status.st_mtime, status.st_size, path) for path, status in self._files())
        total = sum(size for _, size, _ in files)
        budget = total + shutil.disk_usage(self.folder).free // 2 if self.budget is None else self.budget
        for _, length, path in files:
            if total + size <= budget:
                break
            if _remove_unused(path):
                total -= length
        self.bytes_since_scan = size

    def _files(self) -> Iterator[tuple[Path, os.stat_result]]:
        """Yield the finished files of the cache; remove unfinished ones of processes that died."""
        for path in self.folder.glob("??/*"):
            with suppress(OSError):
                status = path.stat()
                unfinished = path.name.startswith(".") or path.name.endswith(".part")  # the latter before version 0.1
                if unfinished and time.time() - status.st_mtime > ABANDONED:
                    path.unlink()
                elif not unfinished and not path.name.endswith(".lock"):
                    yield path, status


def _pread(place: Path, at: int, size: int) -> bytes | None:
    """Return bytes of a file, and mark it as used; None if it does not exist or is cut short. All bytes if `size` is -1."""
    try:
        file = os.open(place, os.O_RDONLY)
    except OSError:
        return None
    try:
        status = os.fstat(file)
        if time.time() - status.st_mtime > TOUCH_INTERVAL:
            with suppress(OSError):
                os.utime(file)
        content = os.pread(file, status.st_size if size < 0 else size, at)
        return content if size < 0 or len(content) == size else None
    finally:
        os.close(file)


def _remove_unused(path: Path) -> bool:
    """Remove a file that no process holds; return whether it was removed."""
    try:
        file = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink()
        return True
    except OSError:
        return False
    finally:
        os.close(file)


def local_copy(url: str, cache: BlockCache | None = None) -> Path:
    """Return a file of this machine with all bytes of the file at a URL.

    Raises:
        ConfigError: If there is no such file, its size is unknown, or it cannot be kept.
        TrainingError: If the URL cannot be reached.
    """
    cache = BlockCache() if cache is None else cache
    info = fsspec_client.file_info(url, cache.tries)
    if info.size < 0:
        raise ConfigError(f"{url}: its server does not say how large it is; copy it here")
    return cache.local_path(info)
