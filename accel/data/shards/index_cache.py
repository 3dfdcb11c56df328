"""What was found out about a file by going through it, kept in the user's cache directory."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from contextlib import suppress
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from threading import get_ident
from typing import Any, ClassVar
from zipfile import BadZipFile
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from accel.data.shards.range_reader import Pieces
from accel.errors import AccelWarning
from accel.system import cache_directory, disk_errors

__all__ = ["Arrays", "IndexCache", "pack_strings", "unpack_strings"]

Arrays = Mapping[str, NDArray[Any]]


class IndexCache:
    """The arrays kept for one file; another size or time of change, and they are not found.

    Args:
        file: what they are about.
        kind: which arrays: everything else that they are a function of.
    """

    told: ClassVar[set[Path]] = set()
    """The folders that could not be written, of which each was told."""

    def __init__(self, file: Pieces, kind: str) -> None:
        place = file.name if "://" in file.name else os.path.abspath(file.name)
        digest = sha256(f"{kind}\0{place}\0{file.stamp}".encode(errors="surrogateescape")).hexdigest()
        self.path = cache_directory.cache_directory("auto") / "shards" / f"{digest[:40]}.index"

    def load(self) -> dict[str, NDArray[Any]] | None:
        """Them; None where nothing was kept, or what is there is not whole."""
        try:
            data = self.path.read_bytes()
            if crc32(data[4:]).to_bytes(4, "little") == data[:4]:
                return dict(np.load(BytesIO(data[4:]), allow_pickle=False))
        except (OSError, ValueError, BadZipFile):  # whatever it is, what is found anew takes its place, or `save` says why not
            return None
        return None

    def save(self, arrays: Arrays) -> None:
        """Keeps them, whole or not at all; where the place cannot be written there is a warning, for all files one."""
        stream = BytesIO()
        np.savez(stream, **arrays)  # type: ignore[arg-type]
        data = stream.getvalue()
        temporary = self.path.with_name(f"{self.path.name}.{os.getpid()}-{get_ident()}")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(crc32(data).to_bytes(4, "little") + data)
            temporary.replace(self.path)
        except OSError as error:
            with suppress(OSError):
                temporary.unlink()
            folder = self.path.parent
            if folder not in self.told:
                self.told.add(folder)
                fix = "make room, or name another place by XDG_CACHE_HOME"
                reason = disk_errors.disk_reason(error)
                message = f"{folder} cannot be written ({reason}), so each run goes through the shards anew; {fix}"
                warnings.warn(message, AccelWarning, stacklevel=2)


def pack_strings(items: list[str]) -> dict[str, NDArray[Any]]:
    """Texts as two arrays: their bytes, and where each ends."""
    encoded = [item.encode(errors="surrogateescape") for item in items]
    ends = np.cumsum([len(item) for item in encoded], dtype=np.int64)
    return {"text": np.frombuffer(b"".join(encoded), np.uint8), "ends": ends}


def unpack_strings(arrays: Arrays) -> list[str]:
    """The texts again."""
    text, ends = arrays["text"].tobytes(), arrays["ends"].tolist()
    starts = [0, *ends[:-1]] if ends else []
    return [text[start:end].decode(errors="surrogateescape") for start, end in zip(starts, ends, strict=True)]
