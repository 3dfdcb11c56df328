"""Paths that a user names: errors of the disk behind them in one sentence, and what lies beside them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from accel.errors import ConfigError, nearest

__all__ = ["nearest_beside", "readable"]


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
