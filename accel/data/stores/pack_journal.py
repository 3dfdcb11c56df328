"""What is to be packed, remembered beside an unfinished store, so that packing goes on after a crash as it would have."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Sequence
from hashlib import blake2b
from itertools import takewhile
from pathlib import Path
from typing import Any

from accel.data.store import Listed, status
from accel.errors import ConfigError

__all__ = ["Journal", "stamps"]


class Journal:
    """The recipe, a stamp of each picture of the source, and the numbers of those that were left out.

    Pictures are packed in order, so the first so many stamps that have not changed say which records can be kept. It is held
    by one process at a time.

    Raises:
        ConfigError: where another process is packing into the same file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
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
            self.recipe, self.stamps = json.loads(lines[0])
            self.skipped = [int(line) for line in lines[2:] if line.isdigit()]

    def records(self, recipe: Any, stamps: Sequence[str], skips: bool) -> tuple[int, list[int]]:
        """How many records can be kept at most, and the pictures left out among them; `skips` says whether any may be."""
        if recipe != self.recipe:
            return 0, []
        same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(stamps, self.stamps, strict=False)))
        skipped = sorted({number for number in self.skipped if number < same})
        if skipped and not skips:
            same, skipped = skipped[0], []
        return same - len(skipped), skipped

    def begin(self, recipe: Any, stamps: Sequence[str], skipped: Sequence[int]) -> None:
        """Writes what is to be packed."""
        text = json.dumps([recipe, list(stamps)]) + "\n\n" + "".join(f"{number}\n" for number in skipped)
        os.ftruncate(self.file, 0)
        os.pwrite(self.file, text.encode(), 0)
        os.fsync(self.file)
        self.skipped = list(skipped)

    def skip(self, number: int) -> None:
        """Notes that picture `number` is left out, before anything behind it is written."""
        os.pwrite(self.file, f"{number}\n".encode(), os.fstat(self.file).st_size)
        os.fsync(self.file)
        self.skipped.append(number)

    def close(self, done: bool) -> None:
        """Lets go of it; one that is `done` is taken away."""
        if done:
            self.path.unlink(missing_ok=True)
        os.close(self.file)


def stamps(source: Listed) -> list[str]:
    """What tells a picture of the source from another, and from itself before it was changed."""
    files: Sequence[str] = getattr(source, "files", ())
    whole = "" if files else source.fingerprint() + getattr(source, "stamp", "")
    found = []
    for index in range(len(source)):
        text = f"{source.key(index)}\0{source.label(index)}\0{whole}"
        if files:
            text += status(files[index], "st_size", "st_mtime_ns")
        found.append(blake2b(text.encode(errors="surrogateescape"), digest_size=8).hexdigest())
    return found
