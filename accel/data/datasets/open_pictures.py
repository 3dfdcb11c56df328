"""Pictures of a store, opened one by one or several together."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from accel.data.codecs.image_reader import ImageReader
    from accel.data.codecs.picture import Picture
    from accel.data.store import Store

__all__ = ["OpenPicture", "open_one", "open_several"]

OpenPicture = Callable[[int], "Picture"]
"""Function that opens the picture of an index."""


def open_one(store: Store, reader: ImageReader, index: int) -> Picture:
    """Return picture `index`, which is decoded as far as it is shown."""
    return reader.open(store.get(index), store.name(index), store.encoding)


def open_several(store: Store, reader: ImageReader, indices: list[int]) -> OpenPicture:
    """Return the function that opens the pictures of `indices`; it is called with each of them, in their order.

    The records of a mapped store are looked up together, and its pictures have no name in messages: to make one takes longer than
    to find the record.
    """
    if not getattr(store, "mapped", False):
        return lambda index: open_one(store, reader, index)
    records, encoding = iter(store.get_many(indices)), store.encoding
    return lambda index: reader.open(next(records), "", encoding)
