"""Names of many files in little memory: a million of them take what their letters take."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import overload

import numpy as np
from numpy.typing import NDArray

__all__ = ["FileNames"]

ERRORS = "surrogateescape"
"""How names that are no UTF-8 are kept."""


class FileNames(Sequence[str]):
    """Paths of files below one folder, as bytes one after the other; each becomes a str when it is asked for.

    Args:
        folder: Path of the folder.
        keys: Groups of paths from there on, with `/`; each group is let go of before the next is asked for.
    """

    def __init__(self, folder: str, keys: Iterable[Sequence[str]]) -> None:
        self.prefix = folder if folder.endswith("/") else f"{folder}/"
        self.text = b"".join(["\0".join([*group, ""]).encode(errors=ERRORS) for group in keys])
        ends = np.flatnonzero(np.frombuffer(self.text, np.uint8) == 0) + 1
        self.starts: NDArray[np.unsignedinteger] = np.concatenate(([0], ends)).astype(
            np.uint32 if len(self.text) < 1 << 32 else np.uint64
        )
        """(files + 1,): where each path begins."""

    def __len__(self) -> int:
        return len(self.starts) - 1

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        return self.prefix + self.key(index)

    def __iter__(self) -> Iterator[str]:
        return (self.prefix + key for key in self.keys())

    def key(self, index: int) -> str:
        """Return the path of one file from the folder on. Raise IndexError if there is no such file."""
        count = len(self)
        if not -count <= index < count:
            raise IndexError(f"file {index} of {count}")
        index %= count
        return self.text[int(self.starts[index]) : int(self.starts[index + 1]) - 1].decode(errors=ERRORS)

    def keys(self) -> Iterator[str]:
        """Yield the path of every file from the folder on."""
        return (self.text[start : end - 1].decode(errors=ERRORS) for start, end in pairwise(self.starts.tolist()))

    def terminated(self, first: int, last: int) -> bytes:
        """Return the paths of files `first` to before `last` from the folder on, each with a zero byte behind it."""
        return self.text[int(self.starts[first]) : int(self.starts[last])]
