"""Files without a name, in place of those that Python code opens to write to: on the same disk, and gone with the process."""

from __future__ import annotations

import builtins
import io
import os
from pathlib import Path
from typing import Any

import torch

from accel.system.anonymous_file import anonymous_file

__all__ = ["UnnamedFiles"]

POOL = 16
"""Files that are opened at the beginning, since none can be later; what goes beyond them is kept in memory."""
NAMELESS = getattr(os, "O_TMPFILE", None)
WRITING = os.O_WRONLY | os.O_RDWR


class UnnamedFiles:
    """Stand-ins for the files that this process writes.

    What was written by a path is read by it again. Folders are not made, and nothing is removed.

    Args:
        folder: whose disk they lie on.
    """

    def __init__(self, folder: Path) -> None:
        self.unused = [made for _ in range(POOL) if (made := nameless(folder)) is not None]
        self.descriptors: dict[str, int] = {}
        self.open_file, self.open_descriptor, self.save = open, os.open, torch.save

    def install(self) -> None:
        """Open these files instead, from here on and for good."""
        changed: dict[Any, dict[str, Any]] = {
            builtins: {"open": self.open},
            io: {"open": self.open},
            torch: {"save": self.save_tensors},
            os: {
                "open": self.open_raw, "replace": self.move, "rename": self.move,
                **dict.fromkeys(("mkdir", "makedirs", "remove", "unlink", "rmdir", "chmod", "utime"), _nothing),
            },
        }  # fmt: skip
        for module, functions in changed.items():
            for name, function in functions.items():
                setattr(module, name, function)

    def open(self, file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        """Open a file as `open` does. One that is written to is another than that of its path."""
        if isinstance(file, int) or not (set(mode) & set("wax+") or _key(file) in self.descriptors):
            return self.open_file(file, mode, *args, **kwargs)
        descriptor = self.descriptor(file, empties=bool(set(mode) & set("wx")))
        return self.open_file(descriptor, mode.replace("x", "w"), *args, **kwargs)

    def open_raw(self, path: Any, flags: int, mode: int = 0o777, **kwargs: Any) -> int:
        """Open a file as `os.open` does."""
        if not flags & WRITING and _key(path) not in self.descriptors:
            return self.open_descriptor(path, flags, mode, **kwargs)
        return self.descriptor(path, empties=bool(flags & os.O_TRUNC))

    def descriptor(self, path: Any, empties: bool) -> int:
        """Return a new descriptor of the file that stands for a path.

        Args:
            path: the path.
            empties: whether it is emptied.
        """
        key = _key(path)
        if key not in self.descriptors:
            self.descriptors[key] = self.unused.pop() if self.unused else anonymous_file("trial")
        descriptor = os.dup(self.descriptors[key])
        if empties:
            os.ftruncate(descriptor, 0)
        os.lseek(descriptor, 0, os.SEEK_SET)
        return descriptor

    def save_tensors(self, value: Any, file: Any, *args: Any, **kwargs: Any) -> None:
        """Save as `torch.save` does."""
        if isinstance(file, str | os.PathLike):
            with self.open(file, "wb") as stream:
                self.save(value, stream, *args, **kwargs)
        else:
            self.save(value, file, *args, **kwargs)

    def move(self, source: Any, target: Any, **kwargs: Any) -> None:
        """Move a file, as `os.replace` does, if it is one of these."""
        if _key(source) in self.descriptors:
            self.descriptors[_key(target)] = self.descriptors.pop(_key(source))


def nameless(folder: Path) -> int | None:
    """Return the descriptor of a new file without a name on the disk of a folder; None if that disk has none."""
    if NAMELESS is None:
        return None
    try:
        return os.open(folder, NAMELESS | os.O_RDWR, 0o600)
    except OSError:
        return None


def _key(path: Any) -> str:
    return os.path.abspath(os.fsdecode(path))


def _nothing(*args: Any, **kwargs: Any) -> None:
    """Do nothing, in place of a function that changes a folder."""
