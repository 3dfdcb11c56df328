"""Store that caches records of another as they are read, so that the second epoch does not do the work of the first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from accel.data.codecs.image_reader import ImageReader
from accel.data.store import Record, Store
from accel.errors import ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from accel.data.cache.record_cache import RecordCache

__all__ = ["CachingStore", "Keep"]

Keep = Literal["shown", "pixels", "files"]
"""The cached form of a picture: its centred square in the size of the task; the whole of it, decoded; its file's bytes."""


class CachingStore:
    """Store around another, whose records are cached when first read, in the first of `tiers` that has room.

    Args:
        inner: the store that is read.
        keep: the cached form.
        reader: decodes, for `pixels`.
        tiers: the caches, the first choice first.
    """

    mapped = False
    """Whether records are views of mapped memory: not all of them, whatever the inner store says."""

    def __init__(self, inner: Store, keep: Keep, reader: ImageReader, tiers: Sequence[RecordCache]) -> None:
        self.inner, self.keep, self.reader, self.tiers = inner, keep, reader, tiers
        self.encoding = inner.encoding

    def __getattr__(self, name: str) -> Any:
        """Return an attribute of the inner store, such as its classes or its folder."""
        if name.startswith("__") or name == "inner":  # asked for while it is unpickled
            raise AttributeError(name)
        return getattr(self.inner, name)  # its classes, its folder

    def __len__(self) -> int:
        return len(self.inner)

    @property
    def kind(self) -> str:
        """The kind of the inner store: a checkpoint of a run with a cache goes on in a run without one, and the other way round."""
        kind: str = getattr(self.inner, "kind", type(self.inner).__name__)
        return kind

    def get(self, index: int) -> Record:
        """Return a record; if its pixels are cached, a memoryview of shape (height, width, 3) of bytes."""
        if self.keep == "shown":
            return self.inner.get(index)
        cached = self._lookup(index)
        if cached is not None:
            content, height, width = cached
            return content.cast("B", (height, width, 3)) if height else content
        record = self.inner.get(index)
        if self.keep == "files":
            self._put(index, record)
            return record
        if all(tier.full for tier in self.tiers):
            return record
        try:
            pixels = np.array(self.reader.open(record, self.name(index), self.encoding).decode())
        except ConfigError:  # it may be sound as far as it is shown; if not, that is said then
            return record
        self._put(index, pixels, *pixels.shape[:2])
        return pixels.data

    def show(self, index: int, out: NDArray[np.uint8], write: Callable[[int, NDArray[np.uint8]], None]) -> None:
        """Write the square of picture `index` into `out`, (side, side, 3) uint8: from the cache, or by `write(index, out)`."""
        cached = self._lookup(index) if self.keep == "shown" else None
        if cached is not None:
            out[...] = np.frombuffer(cached[0], np.uint8).reshape(out.shape)
            return
        write(index, out)
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

    def outline(self) -> str:
        """Return the inner store's outline, or its fingerprint if it has none: what a checkpoint keeps of it without a cache."""
        tell = getattr(self.inner, "outline", self.inner.fingerprint)
        return str(tell())

    def _lookup(self, index: int) -> tuple[memoryview, int, int] | None:
        """Return the content of a cached record, with height and width; None if it is not cached."""
        for tier in self.tiers:
            cached = tier.get(index)
            if cached is not None:
                return cached
        return None

    def _put(self, index: int, content: Any, height: int = 0, width: int = 0) -> None:
        """Cache a record in the first tier that takes it."""
        any(tier.put(index, content, height, width) for tier in self.tiers)
