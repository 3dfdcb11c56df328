"""Folders that are replaced as a whole or not at all."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from accel.errors import ConfigError
from accel.system.atomic_files import flush_folder
from accel.system.faults import point

__all__ = ["replacing_folder"]


@contextmanager
def replacing_folder(path: Path, mark: str, place: str = "") -> Iterator[Path]:
    """Yield an empty folder that takes the place of `path` when the block ends. If the block raises, `path` stays what it was.

    A process that is killed leaves `path` whole, or between two moves the old one under a hidden name; what it has left is taken
    away, or put back, by the next call.

    Args:
        path: the folder. Those above it are made if they lack.
        mark: name of a file that a folder must have to be replaced; one without it is somebody else's.
        place: name of the fault points (`accel.system.faults`): PLACE.begun, .written and .moved.

    Raises:
        ConfigError: if another process replaces it at this time, or something else is there.
        OSError: if the disk does not take it.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise ConfigError(f"{path.parent} is no folder, and would be lost; move it away") from None
    with _alone(path.parent):
        new, old = (path.with_name(f".{path.name}.{word}") for word in ("new", "old"))
        if old.is_dir() and not path.exists():  # of a process that was killed between the two moves
            old.rename(path)
        for left in (new, old):
            _remove(left)
        _refuse_other(path, mark)
        new.mkdir()
        try:
            point(f"{place}.begun")
            yield new
            _flush(new)
            point(f"{place}.written")
            if path.exists():
                path.rename(old)
            point(f"{place}.aside")
            new.rename(path)
            point(f"{place}.moved")
        except BaseException:
            if old.is_dir() and not path.exists():
                old.rename(path)
            _remove(new)
            raise
        flush_folder(path.parent)
        _remove(old)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Be the only process that replaces folders in one. Raise ConfigError if another does; a killed one holds nothing."""
    number = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # a disk without locks
            try:
                fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ConfigError(f"another process is writing to {folder}; wait for its end") from None
        yield
    finally:
        os.close(number)


def _refuse_other(path: Path, mark: str) -> None:
    """Raise ConfigError for what is there and is no such folder: it would be lost."""
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        raise ConfigError(f"{path} is no folder, and would be lost; move it away")
    if path.is_dir() and not (path / mark).is_file() and any(path.iterdir()):
        raise ConfigError(f"{path} has files and no {mark}, and would be lost; move it away")


def _remove(path: Path) -> None:
    if path.is_symlink() or path.is_file():
        path.unlink()
    else:
        shutil.rmtree(path, ignore_errors=True)


def _flush(folder: Path) -> None:
    """Bring the files of a folder, and their names, to the disk."""
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            with file.open("rb") as stream:
                os.fsync(stream.fileno())
    flush_folder(folder)
