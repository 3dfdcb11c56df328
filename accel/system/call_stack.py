"""The owner of a frame of the call stack: the user, accel, or a library."""

from __future__ import annotations

import os
import sys
import sysconfig
import warnings
from pathlib import Path
from types import FunctionType

from accel.errors import AccelWarning

__all__ = [
    "ACCEL_ROOT",
    "LIBRARY_ROOTS",
    "caller",
    "is_user_class",
    "is_user_code",
    "is_user_file",
    "is_user_function",
    "warn_user",
]

ACCEL_ROOT = str(Path(__file__).resolve().parents[1])
"""The folder of accel's own code."""
LIBRARY_ROOTS = (ACCEL_ROOT, *{sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")})
"""The folders of accel, of installed packages (torch among them) and of Python's own modules."""


def is_user_code(filename: str) -> bool:
    """Return whether a file is the user's: neither accel's nor an installed package's nor Python's own."""
    return not filename.startswith("<frozen") and not any(
        filename.startswith(f"{folder}{os.sep}") for folder in LIBRARY_ROOTS if folder
    )


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


def warn_user(message: str) -> None:
    """Emit an AccelWarning at the innermost line of the user's code, however deep the call is inside accel."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and not is_user_code(frame.f_code.co_filename):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, AccelWarning, stacklevel=level + 1)
