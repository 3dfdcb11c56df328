"""A cache on disk of files at URLs, which threads, processes and ranks share."""

from __future__ import annotations

import fcntl
import os
import shutil
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from threading import get_ident

from accel.data.remote import fsspec_client
from accel.data.remote.fsspec_client import Info
from accel.errors import AccelWarning, ConfigError, TrainingError
from accel.system import cache_directory

__all__ = ["BLOCK", "FRESH", "BlockCache", "local_copy"]

BLOCK = 8 << 20
"""Bytes of a file that are fetched at once."""
FRESH = 600
"""Seconds in which a file that is used again is not marked as used again."""


class BlockCache:
    """Files at URLs, fetched in blocks when they are first asked for, and kept on this machine's disk.

    A block is written under another name and moved into place, so that nobody sees half of one; who wants one that another
    fetches waits for it, be it a thread, a process or a rank. A file that was changed at its URL, by its size or its tag, is
    another one. When the budget is spent, what was not used for longest goes.

    Args:
        folder: where to keep it; auto: in the user's cache directory.
        budget: bytes that are kept, about; None for half of what the disk has left.
        tries: how often to ask where the network fails.

    Raises:
        ConfigError: for a budget below one block.
    """

    def __init__(
        self, folder: str = "auto", budget: int | None = None, tries: int = fsspec_client.TRIES, block: int = BLOCK
    ) -> None:
        self.folder = cache_directory.cache_directory("auto") / "remote" if folder == "auto" else Path(folder).expanduser()
        if budget is not None and budget < block:
            raise ConfigError(f"the cache of remote files takes {block / 1e9:g} GB or more, and not {budget / 1e9:g}")
        self.budget, self.tries, self.block = budget, tries, block
        self.unseen = -1
        """Bytes that this process has kept since it last looked how many there are; -1 before it ever did."""
        self.held: list[int] = []

    def __reduce__(self) -> tuple[type[BlockCache], tuple[str, int | None, int, int]]:
        return type(self), (str(self.folder), self.budget, self.tries, self.block)

    def read(self, file: Info, offset: int, size: int) -> bytes:
        """So many bytes of a file from `offset` on. Raises as `remote.info` does."""
        end, parts = offset + size, []
        while offset < end:
            number, at = divmod(offset, self.block)
            part = self._part(file, number, at, min(end - offset, self.block - at))
            parts.append(part)
            offset += len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def whole(self, file: Info) -> bytes:
        """All of it, also where its size is not known."""
        return self.read(file, 0, file.size) if file.size >= 0 else self._part(file, 0, 0, -1)

    def path(self, file: Info) -> Path:
        """All of it as a file of this machine, which stays as long as this process lives."""
        place = self._place(file, -1)
        while True:
            with self._locked(place):
                if not place.exists():
                    self._save(place, file)
                held = os.open(place, os.O_RDONLY)
                fcntl.flock(held, fcntl.LOCK_SH)  # who makes room leaves it alone
                self.held.append(held)
                return place

    def _part(self, file: Info, number: int, at: int, size: int) -> bytes:
        """Bytes of one block; all of it where `size` is -1."""
        place = self._place(file, number)
        found = _pread(place, at, size)
        if found is None:
            with self._locked(place):
                found = _pread(place, at, size)  # another may have fetched it meanwhile
                if found is None:
                    content = self._fetch(file, number)
                    self._keep(place, lambda path: path.write_bytes(content), len(content))
                    found = content[at : at + size] if size >= 0 else content
        return found

    def _fetch(self, file: Info, number: int) -> bytes:
        start = number * self.block
        if file.size < 0:
            return fsspec_client.ranged(file.url, 0, None, self.tries)
        end = min(start + self.block, file.size)
        one = file.size <= self.block
        found = fsspec_client.ranged(file.url, start, None if one else end, self.tries) if end > start else b""
        if not one and len(found) == file.size:  # the server knows no ranges, and gave all
            found = found[start:end]
        if len(found) != end - start or (not one and fsspec_client.info(file.url, self.tries)[1:] != file[1:]):
            raise TrainingError(f"{file.url} was changed while it was read: it had {file.size:,} bytes; start again")
        return found

    def _save(self, place: Path, file: Info) -> None:
        if self.budget is not None and file.size > self.budget:
            raise ConfigError(
                f"{file.url} has {file.size / 1e9:.3g} GB, and the cache of remote files {self.budget / 1e9:.3g}; give it more"
            )

        def write(path: Path) -> None:
            with path.open("wb") as stream:
                for number in range(-(-file.size // self.block)):
                    stream.write(self._fetch(file, number))

        if not self._keep(place, write, file.size):
            raise ConfigError(f"{file.url} cannot be kept in {self.folder}, and is to be read from a file; make room there")

    def _place(self, file: Info, number: int) -> Path:
        key = sha256(f"{file.url}\0{file.size}\0{file.tag}\0{self.block}".encode(errors="surrogateescape")).hexdigest()
        return self.folder / key[:2] / f"{key[2:34]}.{'file' if number < 0 else number}"

    @contextmanager
    def _locked(self, place: Path) -> Iterator[None]:
        """Alone with this file, among all threads and processes of this machine."""
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            lock = os.open(place.with_name(f"{place.name[:1]}.lock"), os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise ConfigError(
                f"the cache of remote files cannot be kept in {self.folder}: {error.strerror}; name another"
            ) from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _keep(self, place: Path, write: Callable[[Path], object], size: int) -> bool:
        """Puts a file into its place, whole or not at all; whether it could be."""
        temporary = place.with_name(f"{place.name}.{os.getpid()}-{get_ident()}.part")
        try:
            self._room(size)
            write(temporary)
            temporary.replace(place)
            return True
        except OSError as error:
            warnings.warn(
                f"the cache {self.folder} cannot be written ({error.strerror}); nothing is kept", AccelWarning, stacklevel=2
            )
            return False
        finally:
            with suppress(OSError):
                temporary.unlink()

    def _room(self, size: int) -> None:
        """Takes away what was not used for longest, where the budget would be spent."""
        if 0 <= self.unseen + size <= (self.budget or 1 << 34) // 16 and self.unseen >= 0:
            self.unseen += size
            return
        files = sorted((status.st_mtime, status.st_size, path) for path, status in self._files())
        total = sum(size for _, size, _ in files)
        budget = total + shutil.disk_usage(self.folder).free // 2 if self.budget is None else self.budget
        for _, length, path in files:
            if total + size <= budget:
                break
            if _unused(path):
                total -= length
        self.unseen = size

    def _files(self) -> Iterator[tuple[Path, os.stat_result]]:
        for path in self.folder.glob("??/*"):
            with suppress(OSError):
                status = path.stat()
                if path.name.endswith(".part") and time.time() - status.st_mtime > 86_400:  # of a process that died
                    path.unlink()
                elif not path.name.endswith((".part", ".lock")):
                    yield path, status


def _pread(place: Path, at: int, size: int) -> bytes | None:
    """Bytes of a file, which counts as used; None where it is not there."""
    try:
        file = os.open(place, os.O_RDONLY)
    except OSError:
        return None
    try:
        status = os.fstat(file)
        if time.time() - status.st_mtime > FRESH:
            with suppress(OSError):
                os.utime(file)
        found = os.pread(file, status.st_size if size < 0 else size, at)
        return found if size < 0 or len(found) == size else None
    finally:
        os.close(file)


def _unused(path: Path) -> bool:
    """Takes a file away that no process holds; whether it did."""
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
    """A file at a URL as one of this machine. Raises ConfigError where there is none, TrainingError where it cannot be reached."""
    cache = BlockCache() if cache is None else cache
    found = fsspec_client.info(url, cache.tries)
    if found.size < 0:
        raise ConfigError(f"{url}: its server does not say how large it is; copy it here")
    return cache.path(found)
