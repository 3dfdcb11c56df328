"""Names of the files that a command is given: as they are typed, in folders, and from standard input."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from accel.data.picture_names import is_hidden, suffix_of
from accel.errors import ConfigError

__all__ = ["STDIN", "files_in", "input_names"]

STDIN = "-"


def input_names(words: Sequence[str], suffixes: frozenset[str] | None) -> Iterator[str]:
    """Return an iterator over the names of files, in order. Names from standard input are read as they are asked for.

    Args:
        words: names of files, folders, and `-` for standard input, a name a line.
        suffixes: of the files that are taken from folders; None for all.

    Raises:
        ConfigError: for a folder without such files, and for standard input that is asked for twice.
    """
    if words.count(STDIN) > 1:
        raise ConfigError("- stands for standard input, which can be read once; leave the second away")
    # not Path.is_dir, which raises for a name that is too long, or in a closed folder: it is a file that cannot be read
    folders = {word: folder for word in words if word != STDIN and os.path.isdir(folder := Path(word).expanduser())}
    listed = {word: files_in(folder, suffixes) for word, folder in folders.items()}
    return _names(words, listed)


def files_in(folder: Path, suffixes: frozenset[str] | None) -> list[str]:
    """Return the files in a folder and in its folders, sorted, without hidden ones. Raise ConfigError if there are none."""
    files = []
    closed: list[OSError] = []
    for place, folders, names in os.walk(folder, onerror=closed.append):
        folders[:] = sorted(name for name in folders if not is_hidden(name))
        files += [
            os.path.join(place, name)
            for name in sorted(names)
            if not is_hidden(name) and (suffixes is None or suffix_of(name) in suffixes)
        ]
    files += [error.filename for error in closed]  # to be named as a file is that cannot be read
    if not files:
        kinds = "" if suffixes is None else f" that the task reads ({', '.join(sorted(suffixes)[:4])} ...)"
        raise ConfigError(f"{folder} holds no file{kinds}")
    return files


def _names(words: Sequence[str], listed: dict[str, list[str]]) -> Iterator[str]:
    for word in words:
        if word == STDIN:
            lines = getattr(sys.stdin, "buffer", None)
            yield from () if lines is None else filter(None, (os.fsdecode(line.rstrip(b"\r\n")) for line in lines))
        elif word in listed:
            yield from listed[word]
        else:
            yield str(Path(word).expanduser())
