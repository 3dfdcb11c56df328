"""Folders that are replaced as a whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from accel.system.atomic_files import flush_folder
from accel.system.faults import point

__all__ = ["replacing_folder"]


@contextmanager
def replacing_folder(path: Path, place: str = "") -> Iterator[Path]:
    """Yield an empty folder that takes the place of `path` when the block ends. If the block raises, `path` stays what it was.

    A process that is killed leaves `path` whole, or between two moves the old one under a hidden name; what it has left is taken
    away, or put back, by the next call.

    Args:
        path: the folder. Those above it are made if they lack.
        place: name of the fault points (`accel.system.faults`): PLACE.begun, .written and .moved.

    Raises:
        OSError: if the disk does not take it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    new, old = (path.with_name(f".{path.name}.{word}") for word in ("new", "old"))
    if old.is_dir() and not path.exists():  # of a process that was killed between the two moves
        old.rename(path)
    for left in (new, old):
        shutil.rmtree(left, ignore_errors=True)
    new.mkdir()
    try:
        point(f"{place}.begun")
        yield new
        for file in sorted(new.rglob("*")):
            if file.is_file():
                with file.open("rb") as stream:
                    os.fsync(stream.fileno())
        flush_folder(new)
        point(f"{place}.written")
        if path.exists():
            path.rename(old)
        new.rename(path)
        point(f"{place}.moved")
    except BaseException:
        if old.is_dir() and not path.exists():
            old.rename(path)
        shutil.rmtree(new, ignore_errors=True)
        raise
    flush_folder(path.parent)
    shutil.rmtree(old, ignore_errors=True)
