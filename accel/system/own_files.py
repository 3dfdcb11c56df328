"""Files that are opened for writing: never through a link that someone planted, and never a pipe or a device."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

__all__ = ["create_own", "open_own", "remove_link"]


def open_own(path: str | Path, flags: int, mode: int = 0o666) -> int:
    """Return a descriptor of a regular file; a last component that is a link is not followed. It serves as `opener` of `open`.

    Args:
        path: the file.
        flags: those of `os.open`.
        mode: permissions of a new file, less the umask.

    Raises:
        OSError: if the file cannot be opened, or is a link, a pipe or a device.
    """
    try:
        file = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, mode)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OSError(errno.ELOOP, "it is a link, and nothing is written through one: take it away", str(path)) from None
        raise
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise OSError(errno.EINVAL, "it is a pipe, a device or a folder, and no file: take it away", str(path))
    return file


def create_own(path: str | Path, flags: int) -> int:
    """Return a descriptor of a regular file as `open_own` does, made if it is not there. It serves as `opener` of `open`."""
    return open_own(path, flags | os.O_CREAT)


def remove_link(path: Path) -> None:
    """Remove a link at a path where a folder or a file is to be made; leave anything else."""
    if path.is_symlink():
        path.unlink(missing_ok=True)
