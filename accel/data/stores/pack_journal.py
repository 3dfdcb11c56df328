"""Journal of packing, beside an unfinished store, so that packing goes on after a crash as it would have.

The file is text. Its first line is JSON, `[recipe, stamps]`; the second is empty, and says that the first is whole; each further
line is the number of a picture that was left out.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Sequence
from contextlib import suppress
from hashlib import blake2b
from itertools import takewhile
from pathlib import Path
from typing import Any

from accel.data.file_access import file_status
from accel.data.store import KeyedStore
from accel.errors import ConfigError
from accel.system.own_files import open_own

__all__ = ["Journal", "picture_stamps"]


class Journal:
    """Recipe, a stamp of each picture of the source, and the numbers of the pictures that were left out.

    Pictures are packed in order, so stamps that have not changed, up to the first that has, say which records stay. One process
    at a time holds a journal.

    Args:
        path: The file, created if it does not exist.

    Raises:
        ConfigError: If another process is packing into the same file, or the journal cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.file = open_own(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise ConfigError(f"cannot write {path}: {error.strerror}") from None
        try:
            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self.file)
            raise ConfigError(f"another process is packing into {path.with_suffix('')}; wait for it") from None
        self.recipe: Any = None
        self.stamps: list[str] = []
        self.skipped: list[int] = []
        lines = os.pread(self.file, os.fstat(self.file).st_size, 0).decode(errors="replace").splitlines()
        if len(lines) > 1 and lines[1] == "":  # whole
            self._read(lines)

    def _read(self, lines: list[str]) -> None:
        """Take what an earlier attempt wrote; nothing, if accel never writes so."""
        with suppress(ValueError, TypeError, RecursionError):
            recipe, stamps = json.loads(lines[0])
            if isinstance(stamps, list) and all(type(stamp) is str for stamp in stamps):
                self.recipe, self.stamps = recipe, stamps
                self.skipped = [int(line) for line in lines[2:] if re.fullmatch(r"[0-9]{1,18}", line)]

    def resumable(self, recipe: Any, stamps: Sequence[str], skips: bool) -> tuple[int, list[int]]:
        """Return the number of records that can stay, at most, and the pictures left out among them.

        Args:
            recipe: Recipe of this attempt; nothing stays if it is another one.
            stamps: Stamps of the source's pictures now.
            skips: Whether pictures may be left out in this attempt.
        """
        if recipe != self.recipe:
            return 0, []
        same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(stamps, self.stamps, strict=False)))
        skipped = sorted({number for number in self.skipped if number < same})
        if skipped and not skips:
            same, skipped = skipped[0], []
        return same - len(skipped), skipped

    def begin(self, recipe: Any, stamps: Sequence[str], skipped: Sequence[int]) -> None:
        """Write the recipe, the stamps and the pictures left out so far, and flush them to the disk."""
        text = json.dumps([recipe, list(stamps)]) + "\n\n" + "".join(f"{number}\n" for number in skipped)
        os.ftruncate(self.file, 0)
        os.pwrite(self.file, text.encode(), 0)
        os.fsync(self.file)
        self.skipped = list(skipped)

    def skip(self, number: int) -> None:
        """Note that picture `number` is left out, before any record behind it is written."""
        os.pwrite(self.file, f"{number}\n".encode(), os.fstat(self.file).st_size)
        os.fsync(self.file)
        self.skipped.append(number)

    def close(self, done: bool) -> None:
        """Close the journal, and remove its file if packing is `done`."""
        if done:
            self.path.unlink(missing_ok=True)
        os.close(self.file)


def picture_stamps(source: KeyedStore) -> list[str]:
    """Return a stamp of each picture of the source, 16 hexadecimal digits, which changes when the picture does."""
    files: Sequence[str] = getattr(source, "files", ())
    source_stamp = "" if files else source.fingerprint() + getattr(source, "stamp", "")
    stamps = []
    for index in range(len(source)):
        text = f"{source.key(index)}\0{source.label(index)}\0{source_stamp}"
        if files:
            text += file_status(files[index], "st_size", "st_mtime_ns")
        stamps.append(blake2b(text.encode(errors="surrogateescape"), digest_size=8).hexdigest())
    return stamps
