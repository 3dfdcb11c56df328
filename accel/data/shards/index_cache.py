"""Cache of what a scan of a file found, in the user's cache directory.

A file of the cache: uint32 crc32 of the rest, little endian; then an uncompressed `.npz` archive of the arrays.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any, ClassVar
from zipfile import BadZipFile
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from accel.data.shards.range_reader import RandomAccessFile
from accel.system import atomic_files, disk_errors
from accel.system.cache_directory import cache_directory
from accel.system.call_stack import warn_user

__all__ = ["MALFORMED", "MAX_LABEL", "Arrays", "IndexCache", "is_sound", "pack_strings", "unpack_strings"]

MALFORMED = (ValueError, TypeError, KeyError, OverflowError, MemoryError, RecursionError)
"""Errors of numpy where an archive is none that it writes."""
MAX_LABEL = 1 << 22
"""Number above all labels of an index that is taken from the cache."""
Arrays = Mapping[str, NDArray[Any]]


class IndexCache:
    """Arrays kept for one file, which are not found any more if the file's stamp changes.

    Args:
        file: File that was scanned.
        kind: Everything else that the arrays depend on, in words.
    """

    warned_folders: ClassVar[set[Path]] = set()
    """Folders that could not be written, and of which a warning was shown."""

    def __init__(self, file: RandomAccessFile, kind: str) -> None:
        place = file.name if "://" in file.name else os.path.abspath(file.name)
        digest = sha256(f"{kind}\0{place}\0{file.stamp}".encode(errors="surrogateescape")).hexdigest()
        self.path = cache_directory("auto") / "shards" / f"{digest[:40]}.index"

    def load(self) -> dict[str, NDArray[Any]] | None:
        """Return the arrays; None if nothing was kept, or the file of the cache is damaged."""
        try:
            data = self.path.read_bytes()
            if crc32(data[4:]).to_bytes(4, "little") == data[:4]:
                return dict(np.load(BytesIO(data[4:]), allow_pickle=False))
        except (
            OSError,
            ValueError,
            TypeError,
            KeyError,
            EOFError,
            OverflowError,
            MemoryError,
            RecursionError,
            BadZipFile,
        ):  # whatever it is, what is found anew takes its place, or `save` says why not
            return None
        return None

    def save(self, arrays: Arrays) -> None:
        """Keep the arrays, whole or not at all. If the folder cannot be written, warn once for all files."""
        stream = BytesIO()
        np.savez(stream, **arrays)  # type: ignore[arg-type]
        data = stream.getvalue()
        folder = self.path.parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with atomic_files.swapped_in(self.path) as temporary:
                temporary.write_bytes(crc32(data).to_bytes(4, "little") + data)
        except OSError as error:
            if folder not in self.warned_folders:
                self.warned_folders.add(folder)
                fix = "make room, or name another place by XDG_CACHE_HOME"
                reason = disk_errors.disk_reason(error)
                message = f"{folder} cannot be written ({reason}), so each run goes through the shards anew; {fix}"
                warn_user(message)


def pack_strings(items: list[str]) -> dict[str, NDArray[Any]]:
    """Return strings as two arrays: `text`, their bytes, uint8; `ends`, where each ends, int64."""
    encoded = [item.encode(errors="surrogateescape") for item in items]
    ends = np.cumsum([len(item) for item in encoded], dtype=np.int64)
    return {"text": np.frombuffer(b"".join(encoded), np.uint8), "ends": ends}


def is_sound(arrays: Arrays, columns: Sequence[str], file_size: int) -> bool:
    """Return whether arrays of the cache can be the index of a file: a checksum proves only that they are as someone wrote them.

    Args:
        arrays: Arrays by name.
        columns: Names of those with a whole number for each record; `offsets`, `sizes` and `labels` among them.
        file_size: Bytes of the file.
    """
    numbers = [arrays[name] for name in (*columns, "ends") if name in arrays]
    text = arrays.get("text")
    if len(numbers) <= len(columns) or text is None or text.dtype != np.uint8 or text.ndim != 1:
        return False
    if any(column.dtype != np.int64 or column.shape != numbers[-1].shape or column.ndim != 1 for column in numbers):
        return False
    ends, offsets, sizes = numbers[-1], arrays["offsets"], arrays["sizes"]
    inside = (offsets > -256).all() and (sizes >= 0).all() and (offsets <= file_size - sizes).all()
    inside = inside and (arrays["labels"] < MAX_LABEL).all()  # a list of as many names would fill the memory
    extents = np.concatenate([[0], ends, [len(text)]])
    return bool(inside and (np.diff(extents) >= 0).all() and (not len(ends) or ends[-1] == len(text)))


def unpack_strings(arrays: Arrays) -> list[str]:
    """Return the strings of `pack_strings`."""
    text, ends = arrays["text"].tobytes(), arrays["ends"].tolist()
    starts = [0, *ends[:-1]] if ends else []
    return [text[start:end].decode(errors="surrogateescape") for start, end in zip(starts, ends, strict=True)]
