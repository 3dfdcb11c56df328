"""Names of the files that a command is given: as they are typed, in folders, and from standard input."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

from accel.data.picture_names import is_hidden, suffix_of
from accel.errors import BadSample, ConfigError, listed

__all__ = ["STDIN", "files_in", "input_names"]

STDIN = "-"


def input_names(words: Sequence[str], suffixes: frozenset[str] | None) -> Iterator[str | BadSample]:
    """Return an iterator over the names of files, in order, each as it is asked for: no folder is read before its turn.

    In place of a folder that cannot be read, or that has no such file, stands what is to be said of it.

    Args:
        words: names of files, folders, and `-` for standard input, a name a line.
        suffixes: of the files that are taken from folders; None for all.

    Raises:
        ConfigError: for standard input that is asked for twice, and, from the iterator, for one folder alone that has no such file.
    """
    if words.count(STDIN) > 1:
        raise ConfigError("- stands for standard input, which can be read once; leave the second away")
    return _names(words, suffixes)


def _names(words: Sequence[str], suffixes: frozenset[str] | None) -> Iterator[str | BadSample]:
    for word in words:
        path = Path(word).expanduser()
        if word == STDIN:
            lines = getattr(sys.stdin, "buffer", None)
            yield from () if lines is None else filter(None, (os.fsdecode(line.rstrip(b"\r\n")) for line in lines))
        elif not os.path.isdir(path):  # Path.is_dir raises for a name that is too long: it is a file that cannot be read
            yield str(path)
        else:
            names = files_in(path, suffixes)
            first = next(names, None)
            if first is not None:
                yield from chain([first], names)
            else:
                kinds = "" if suffixes is None else f" that the task reads ({listed(sorted(suffixes), 4)})"
                nothing = BadSample(f"{path} holds no file{kinds}")
                if len(words) == 1:
                    raise ConfigError(str(nothing))
                yield nothing


def files_in(folder: Path, suffixes: frozenset[str] | None) -> Iterator[str | BadSample]:
    """Yield the files in a folder, sorted, then those in its folders, likewise. A folder is read when it is its turn.

    Hidden ones, links to folders, and what is no file (a device, a pipe) are left out.
    """
    folders = [str(folder)]
    while folders:
        place = folders.pop()
        try:
            with os.scandir(place) as entries:
                present = sorted((entry for entry in entries if not is_hidden(entry.name)), key=lambda entry: entry.name)
        except OSError as error:
            yield BadSample(f"{place} cannot be read: {error.strerror}")
            continue
        inner = {entry.path for entry in present if entry.is_dir(follow_symlinks=False)}
        for entry in present:
            if entry.path not in inner and (suffixes is None or suffix_of(entry.name) in suffixes) and _may_be_file(entry):
                yield entry.path
        folders += [entry.path for entry in reversed(present) if entry.path in inner]


def _may_be_file(entry: os.DirEntry[str]) -> bool:
    """Return whether an entry of a folder is a file, or a link to nothing, which is named as a file is that cannot be read."""
    try:
        return entry.is_file() or (entry.is_symlink() and not os.path.exists(entry.path))
    except OSError:
        return True
