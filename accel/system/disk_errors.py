"""Errors of a disk in words: one that takes no more, and one that does not give what a user names."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from accel.errors import ConfigError, nearest
from accel.system.call_stack import warn_user

__all__ = [
    "DISK_FULL_REASONS", "disk_reason", "is_disk_full", "nearest_beside", "readable", "remedy", "require_room",
    "warn_on_disk_error",
]  # fmt: skip
BLOCK = 1 << 20

DISK_FULL_REASONS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "a file may not grow that large",
}
"""The reason in words, by the number of the error."""


def is_disk_full(error: OSError) -> bool:
    """Return whether an error says that there is no room: on the disk, in a quota or in a file."""
    return error.errno in DISK_FULL_REASONS


def disk_reason(error: OSError) -> str:
    """Return in a few words why the disk refused."""
    return DISK_FULL_REASONS.get(error.errno or 0) or error.strerror or str(error)


def remedy(error: OSError) -> str:
    """Return the verb of the advice, to be followed by the place: `make room on`, or `look after`."""
    return "make room on" if is_disk_full(error) else "look after"


@contextmanager
def warn_on_disk_error(path: Path) -> Iterator[None]:
    """Turn an OSError inside the block into a warning, and remove the file.

    It is for files that no run resumes from: training goes on without them.

    Args:
        path: the file that is written in the block.
    """
    try:
        yield
    except OSError as error:
        path.unlink(missing_ok=True)
        warn_user(f"{path} could not be written: {disk_reason(error)}; training goes on without it")


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Raise ConfigError for an OSError inside the block: a file or folder that may not be read, or whose name is too long.

    Args:
        path: named in the sentence, where the error names no file.
    """
    try:
        yield
    except OSError as error:
        remedy = "; let this user read it" if isinstance(error, PermissionError) else ""
        raise ConfigError(f"{error.filename or path} cannot be read ({error.strerror or error}){remedy}") from None


def nearest_beside(path: Path) -> str:
    """Return `"; did you mean 'NAME'?"` if what is not there is nearly called as something in its folder; else the empty string."""
    try:
        return nearest(path.name, os.listdir(path.parent))
    except OSError:
        return ""


def require_room(folder: Path, size: int) -> None:
    """Raise OSError if a folder does not take a file of `size` bytes. Some engines report a full disk as a fault of the model."""
    file = folder / ".room"
    try:
        with file.open("wb") as stream:
            for start in range(0, size, BLOCK):
                stream.write(bytes(min(BLOCK, size - start)))
            stream.flush()
            os.fsync(stream.fileno())
    finally:
        file.unlink(missing_ok=True)
