"""The disk that a run's data lies on: where, of what kind, and how fast it reads."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from accel.data.datasets.folder_advice import base_store

__all__ = ["BLOCK", "MOUNTS", "NETWORK", "SAMPLED", "DataDisk", "data_files", "file_system", "read_disk", "read_rate"]

NETWORK = ("nfs", "nfs4", "cifs", "smb3", "fuse", "9p", "ceph", "lustre", "glusterfs", "beegfs", "afs")
"""Kinds of file systems whose files lie on another machine, or behind a program."""
MOUNTS = Path("/proc/self/mounts")
SAMPLED = 64
"""Files that are read, at most."""
BLOCK = 1 << 20
"""Bytes that are read of a file at a time."""
MOST_BYTES, MOST_SECONDS = 64 << 20, 1.5


@dataclass(frozen=True)
class DataDisk:
    """Disk of the training data.

    Args:
        path: folder or file of the data.
        kind: of the file system, such as ext4; empty if the system does not tell.
        cold: bytes a second past the system's cache of files; None where that cannot be done.
        warm: bytes a second from the cache.
        sampled: bytes that were read for it.
        files: that were read for it.
    """

    path: str
    kind: str
    cold: float | None
    warm: float | None
    sampled: int
    files: int = 1

    @property
    def is_remote(self) -> bool:
        """Whether the files lie on another machine, or behind a program."""
        return self.kind.partition(".")[0] in NETWORK


def read_disk(data: Any) -> DataDisk | None:
    """Return the disk of a data set, measured on its own files; None if it has none that can be told.

    Nothing is written, and the system's cache is not emptied: it is passed by.

    Args:
        data: the data set as the loader reads it.
    """
    files = data_files(data)
    if not files:
        return None
    cold, _ = read_rate(files, direct=True)
    read_rate(files, direct=False)
    warm, sampled = read_rate(files, direct=False)
    folder = os.path.dirname(files[0]) if len(files) > 1 else files[0]
    return DataDisk(folder, file_system(folder), cold, warm, sampled, len(files))


def data_files(data: Any) -> list[str]:
    """Return some files of a data set, from all over it: of a store or a folder, or the one that an array is mapped from."""
    store = getattr(data, "store", None)
    if store is not None:
        store = base_store(store)
        names = getattr(store, "files", None)
        if names:
            return [os.fspath(name) for name in names[:: max(1, len(names) // SAMPLED)][:SAMPLED]]
        path = getattr(store, "path", None)
        return [str(path)] if path is not None and Path(path).is_file() else []
    arrays = [value for value in getattr(data, "__dict__", {}).values() if isinstance(value, np.ndarray)]
    mapped = [file for array in arrays if (file := _mapped_file(array))]
    return mapped[:1]


def _mapped_file(array: np.ndarray) -> str:
    """Return the file that an array, or the one that it is a part of, is mapped from; empty for one in memory."""
    whole: Any = array
    while isinstance(whole, np.ndarray):
        name = getattr(whole, "filename", None)
        if name is not None and os.path.isfile(name):
            return str(name)
        whole = whole.base
    return ""


def read_rate(files: Iterable[str], direct: bool) -> tuple[float | None, int]:
    """Return the bytes a second at which files are read, and how many were.

    Args:
        files: their paths.
        direct: whether to pass by the system's cache (O_DIRECT), where its file system allows that.
    """
    total, started = 0, perf_counter()
    try:
        for size in (size for file in files for size in _reads(file, direct)):
            total += size
            if total >= MOST_BYTES or perf_counter() - started > MOST_SECONDS:
                break
    except OSError:
        return None, 0
    return (total / max(perf_counter() - started, 1e-9), total) if total else (None, 0)


def _reads(file: str, direct: bool) -> Iterator[int]:
    """Yield the bytes of each read of a file, from its beginning. Raise OSError if it cannot be read so."""
    if direct and not hasattr(os, "O_DIRECT"):
        raise OSError("this system has no O_DIRECT")
    descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC | (os.O_DIRECT if direct else 0))
    try:
        with mmap.mmap(-1, BLOCK) as space:  # whose address is that of a page, as O_DIRECT wants it
            while size := os.readv(descriptor, [space]):
                yield size
                if size < BLOCK:
                    return
    finally:
        os.close(descriptor)


def file_system(path: str) -> str:
    """Return the kind of the file system that a path lies on; empty if the system does not tell."""
    try:
        mounts = [line.split() for line in MOUNTS.read_text().splitlines()]
    except OSError:
        return ""
    real = Path(os.path.realpath(path))
    fitting = [words for words in mounts if len(words) > 2 and real.is_relative_to(words[1])]
    longest = max(fitting, key=lambda words: len(words[1]), default=None)
    return longest[2] if longest is not None else ""
