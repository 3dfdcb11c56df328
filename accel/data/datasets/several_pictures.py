"""Pictures of several samples, written one after another."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

from accel.data.sampling import reused_rng

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from accel.data.codecs.image_reader import ImageReader
    from accel.data.codecs.picture import Picture, WriteCrop

__all__ = ["GROUP", "fill_several", "write_mirrored"]

GROUP = 8
"""Pictures that are made ready together. Python's code and objects then stay in the caches, from which each decoded picture
drives them: the same statements took a third of the time or less. More of them would hold the interpreter's lock for longer."""


class Pictures(Protocol):
    """Data set whose samples are crops of pictures in a store."""

    store: Any
    reader: ImageReader
    moves_after: bool

    def fill(self, index: int, rng: np.random.Generator, out: NDArray[np.uint8]) -> int:
        """Write a sample into `out`; return its label."""

    def prepare(self, picture: Picture, rng: np.random.Generator) -> WriteCrop:
        """Return what writes a crop of the picture."""

    def move(self, out: NDArray[np.uint8], rng: np.random.Generator) -> None:
        """Move the written crop."""


def fill_several(data: Pictures, keys: list[int], seed: int, epoch: int, out: NDArray[np.uint8]) -> Iterator[int]:
    """Write samples `keys` into `out`, (n, side, side, 3) uint8, as `data.fill` does; yield the label of each once it is written.

    Some are made ready together if the store is mapped: records looked up, boxes drawn, tiles joined. What is left for each is to
    decode, resample and mirror, which lets go of the interpreter's lock. Errors may lack the picture's name.
    """
    store, encoding = data.store, data.store.encoding
    if not getattr(store, "mapped", False):
        for key, row in zip(keys, out, strict=False):
            yield data.fill(key, reused_rng(seed, epoch, key), row)
        return
    for start in range(0, len(keys), GROUP):
        group = keys[start : start + GROUP]
        pictures = [data.reader.open(record, "", encoding) for record in store.get_many(group)]
        writes = [data.prepare(picture, reused_rng(seed, epoch, key)) for key, picture in zip(group, pictures, strict=True)]
        labels = [store.label(key) for key in group]
        for key, write, label, row in zip(group, writes, labels, out[start:], strict=False):
            write(row)
            if data.moves_after:
                data.move(row, reused_rng(seed, epoch, key))
            yield label


def write_mirrored(write: WriteCrop, reader: ImageReader, out: NDArray[np.uint8]) -> None:
    """Write a crop into `out`, (side, side, 3) uint8, and mirror it."""
    write(out)
    reader.mirror(out)
