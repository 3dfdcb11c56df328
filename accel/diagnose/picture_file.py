"""The file that what was measured is drawn into: `--picture FILE` of a command."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from accel.errors import ConfigError
from accel.system import disk_errors

__all__ = ["picture_file", "write_picture"]


def picture_file(text: str | None, example: str) -> Path | None:
    """Return the file of the picture. Raise ConfigError before anything is measured if it cannot be written.

    Args:
        text: as it was typed; None for no picture.
        example: a name to suggest where it names no file.
    """
    if text is None:
        return None
    file = Path(text).expanduser()
    if not file.name or os.path.isdir(file):
        raise ConfigError(f"--picture {text} names no file; name one, such as {example}")
    if file.suffix != ".svg":
        raise ConfigError(f"--picture {text}: the picture is an SVG; end its name with .svg")
    if not os.path.isdir(file.parent):
        raise ConfigError(f"--picture {text}: there is no folder {file.parent} to write in; make it, or name another file")
    if not os.access(file.parent, os.W_OK | os.X_OK):
        raise ConfigError(f"--picture {text}: no file can be made in {file.parent} (Permission denied); name another file")
    return file


def write_picture(file: Path | None, draw: Callable[[Path], object]) -> None:
    """Draw into the file, if there is one. Raise ConfigError if the disk does not take it."""
    if file is None:
        return
    try:
        draw(file)
    except OSError as error:
        raise ConfigError(f"--picture {file}: cannot write there ({disk_errors.disk_reason(error)}); name another file") from None
