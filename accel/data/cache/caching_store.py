"""A store that keeps what was read, as it is needed again: so that the second epoch does not do the work of the first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from accel.data.codecs.image_reader import Reader
from accel.data.store import Record, Store
from accel.errors import ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from accel.data.cache.record_cache import RecordCache

__all__ = ["Keep", "Keeping"]

Keep = Literal["shown", "pixels", "files"]
"""What is kept of a picture: its centred square in the size that the task shows; the whole of it, decoded; its file's bytes."""


class Keeping:
    """The records of another store. What `keep` says of them is kept in the first of `shelves` that has room, when first read.

    Args:
        inner: where they come from.
        keep: what is kept.
        reader: decodes, for `pixels`.
        shelves: where it is kept.
    """

    def __init__(self, inner: Store, keep: Keep, reader: Reader, shelves: Sequence[RecordCache]) -> None:
        self.inner, self.keep, self.reader, self.shelves = inner, keep, reader, shelves
        self.encoding = inner.encoding

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "inner":  # asked for while it is unpickled
            raise AttributeError(name)
        return getattr(self.inner, name)  # its classes, its folder

    def __len__(self) -> int:
        return len(self.inner)

    def get(self, index: int) -> Record:
        """The record; where its pixels are kept, a memoryview of shape (height, width, 3) of bytes."""
        if self.keep == "shown":
            return self.inner.get(index)
        found = self._find(index)
        if found is not None:
            content, height, width = found
            return content.cast("B", (height, width, 3)) if height else content
        record = self.inner.get(index)
        if self.keep == "files":
            self._put(index, record)
            return record
        if all(shelf.full for shelf in self.shelves):
            return record
        try:
            pixels = np.array(self.reader.whole(record, self.name(index), self.encoding))
        except ConfigError:  # it may be sound as far as it is shown; if not, that is said then
            return record
        self._put(index, pixels, *pixels.shape[:2])
        return pixels.data

    def show(self, index: int, out: NDArray[np.uint8], show: Callable[[int, NDArray[np.uint8]], None]) -> None:
        """What `show(index, out)` writes into `out`, (side, side, 3) uint8: kept, where that is what is kept."""
        found = self._find(index) if self.keep == "shown" else None
        if found is not None:
            out[...] = np.frombuffer(found[0], np.uint8).reshape(out.shape)
            return
        show(index, out)
        if self.keep == "shown":
            self._put(index, np.ascontiguousarray(out))

    def get_many(self, indices: Sequence[int]) -> list[Record]:
        return [self.get(index) for index in indices]

    def label(self, index: int) -> int:
        return self.inner.label(index)

    def name(self, index: int) -> str:
        return self.inner.name(index)

    def fingerprint(self) -> str:
        return self.inner.fingerprint()

    def _find(self, index: int) -> tuple[memoryview, int, int] | None:
        for shelf in self.shelves:
            found = shelf.get(index)
            if found is not None:
                return found
        return None

    def _put(self, index: int, content: Any, height: int = 0, width: int = 0) -> None:
        any(shelf.put(index, content, height, width) for shelf in self.shelves)
