"""Files that are made whole or not at all, and never in the place of another."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from secrets import token_hex

from accel.system.atomic_files import flush_folder
from accel.system.faults import point
from accel.system.own_files import open_own

__all__ = ["create_file"]


def create_file(path: Path, data: bytes, place: str = "") -> None:
    """Make a file that is not there: at any instant it is whole or not there, and nothing else is left, however the process ends.

    Until it is whole, it has no name, where the system can do that (Linux, on most disks). Elsewhere a hidden file beside it is
    left if the process is killed meanwhile. Folders that lack are made last of all, and removed if they cannot take it.

    Args:
        path: the file.
        data: its content.
        place: name of the fault points (`accel.system.faults`): PLACE.written and .named.

    Raises:
        FileExistsError: if anything is there, a link that leads nowhere too.
        OSError: if the disk does not take the file; nothing of it is left then.
    """
    made: list[Path] = []
    try:
        if not _create_nameless(path, data, place, made):
            _create_hidden(path, data, made)
    except BaseException:
        for folder in reversed(made):
            with suppress(OSError):
                folder.rmdir()
        raise
    point(f"{place}.named")
    flush_folder(path.parent)


def _create_hidden(path: Path, data: bytes, made: list[Path]) -> None:
    """Write a file with another name, and give it its own."""
    _make_folders(path.parent, made)
    temporary = path.with_name(f".{token_hex(8)}.{path.name}")
    try:
        with open(temporary, "xb", opener=open_own) as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.link(temporary, path)
    finally:
        with suppress(OSError):
            temporary.unlink()


def _make_folders(folder: Path, made: list[Path]) -> None:
    """Make a folder and those above it, as far as they lack, and add each to `made`."""
    if not folder.exists():
        _make_folders(folder.parent, made)
        folder.mkdir(exist_ok=True)
        made.append(folder)


def _create_nameless(path: Path, data: bytes, place: str, made: list[Path]) -> bool:
    """Write a file without a name, and give it its name; return False where the system has no such files."""
    folder = path.parent
    while not folder.exists():
        folder = folder.parent
    try:
        number = os.open(folder, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o666)
    except (AttributeError, OSError):  # no such flag in this system, or on this disk
        return False
    with open(number, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(number)
        point(f"{place}.written")
        _make_folders(path.parent, made)
        try:
            os.link(f"/proc/self/fd/{number}", path, follow_symlinks=True)
        except FileExistsError:
            raise
        except OSError:  # no /proc, say
            return False
    return True
