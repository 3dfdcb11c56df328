"""The owner of a frame of the call stack: the user, accel, or a library."""

from __future__ import annotations

import mmap
import os
import sys
import sysconfig
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from threading import Lock
from types import FrameType, FunctionType

from accel.errors import AccelWarning

__all__ = [
    "ACCEL_ROOT",
    "LIBRARY_ROOTS",
    "RunWarnings",
    "caller",
    "is_user_class",
    "is_user_code",
    "is_user_file",
    "is_user_function",
    "speaks_for_all",
    "warn_user",
    "warnings_of_run",
]

ACCEL_ROOT = str(Path(__file__).resolve().parents[1])
"""The folder of accel's own code."""
LIBRARY_ROOTS = (ACCEL_ROOT, *{sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")})
"""The folders of accel, of installed packages (torch among them) and of Python's own modules."""

PACKAGE_FOLDERS = tuple(f"{os.sep}{name}{os.sep}" for name in ("site-packages", "dist-packages"))
"""Folders of installed packages wherever they lie: a user's own, those below a virtual environment, those of a PYTHONPATH."""


def is_user_code(filename: str) -> bool:
    """Return whether a file is the user's: neither accel's nor an installed package's nor Python's own."""
    if filename.startswith("<frozen") or any(folder in filename for folder in PACKAGE_FOLDERS):
        return False
    return not any(filename.startswith(f"{folder}{os.sep}") for folder in LIBRARY_ROOTS if folder)


def is_user_file(filename: str | None) -> bool:
    """Return whether code is the user's. What has no file was typed."""
    return filename is None or is_user_code(filename)


def is_user_class(kind: type) -> bool:
    """Return whether a class is the user's."""
    module = sys.modules.get(kind.__module__)
    return kind.__module__.partition(".")[0] not in sys.stdlib_module_names and is_user_file(getattr(module, "__file__", None))


def is_user_function(function: FunctionType) -> bool:
    """Return whether a function is the user's. One that `exec` made, as for a dataclass, is where its module is."""
    filename = function.__code__.co_filename
    return is_user_file(function.__globals__.get("__file__") if filename.startswith("<") else filename)


def caller(depth: int = 1) -> tuple[str, int]:
    """Return file and line of the innermost frame that is the user's or accel's own, or of the starting frame if there is none.

    Installed packages and Python's own modules are passed over: a loss that calls a library reads through that library.

    Args:
        depth: how many frames above this call the search starts.
    """
    frame = start = sys._getframe(depth + 1)
    while frame.f_back is not None:
        name = frame.f_code.co_filename
        if name.startswith(f"{ACCEL_ROOT}{os.sep}") or is_user_code(name):
            return name, frame.f_lineno
        frame = frame.f_back
    return start.f_code.co_filename, start.f_lineno


class RunWarnings:
    """The warnings of one run: each comes once, whichever thread or forked process of the run it comes from.

    Args:
        file: the user's file that started the run.
        line: its line.
    """

    SIZE, DIGEST = 1 << 14, 16

    def __init__(self, file: str, line: int) -> None:
        self.file, self.line = file, line
        self.lock = Lock()
        self.shared = mmap.mmap(-1, self.SIZE)  # processes that are forked later see what is written here, and write here

    def is_new(self, message: str) -> bool:
        """Return whether this is the first time that `message` comes."""
        digest = blake2b(message.encode(errors="replace"), digest_size=self.DIGEST).digest()
        with self.lock:
            for place in range(0, self.SIZE, self.DIGEST):
                known = self.shared[place : place + self.DIGEST]
                if known == digest:
                    return False
                if not any(known):
                    self.shared[place : place + self.DIGEST] = digest
                    return True
        return True


runs: list[RunWarnings] = []
"""The runs that this process is in, the innermost last."""


@contextmanager
def warnings_of_run() -> Iterator[None]:
    """Let each warning come once while the block runs, and point at the user's line that entered it, if at no line below."""
    frame = _user_frame(sys._getframe(2))
    run = RunWarnings(*(("accel", 1) if frame is None else (frame.f_code.co_filename, frame.f_lineno)))
    runs.append(run)
    try:
        yield
    finally:
        runs.remove(run)


def speaks_for_all() -> bool:
    """Return whether this process is the one of a run's ranks that says what all have to say."""
    return os.environ.get("RANK", "0") == "0" or os.environ.get("WORLD_SIZE", "1") == "1"


def warn_user(message: str, again: bool = False, local: bool = False) -> None:
    """Emit an AccelWarning at the innermost line of the user's code, however deep the call is inside accel.

    A thread has no such line: there it is the line that started the run. Each message comes once in a run, and on the first
    rank alone.

    Args:
        message: one sentence.
        again: whether it is an event, which is told each time that it happens.
        local: whether it is about this process alone, and not about the run: told by any rank, with its number.
    """
    if not speaks_for_all():
        if not local:
            return
        message = f"rank {os.environ['RANK']}: {message}"
    frame = _user_frame(sys._getframe(1))
    if runs:
        run = runs[-1]
        if again or run.is_new(message):
            file, line = (run.file, run.line) if frame is None else (frame.f_code.co_filename, frame.f_lineno)
            warnings.warn_explicit(message, AccelWarning, file, line)
        return
    level, below = 1, sys._getframe(1)
    while below is not frame and below.f_back is not None:
        level, below = level + 1, below.f_back
    warnings.warn(message, AccelWarning, stacklevel=level + 1)


def _user_frame(frame: FrameType | None) -> FrameType | None:
    """Return the innermost frame, from `frame` on, that is the user's; None if there is none."""
    while frame is not None and not is_user_code(frame.f_code.co_filename):
        frame = frame.f_back
    return frame
