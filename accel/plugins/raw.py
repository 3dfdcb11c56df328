"""Raw: a source that reads decoded pictures from one memory-mapped file per split.

A record is the pixels themselves: nothing is decoded, and only the rows under a
crop are read. Make the files once: `python -m accel pack DIR DIR --format raw
--short-side 256` puts `train.raw` beside `train/`. Classes, pictures, labels
and their order are compared with the folder's. Each record has a crc32, which
is compared when the record is first read.

Helps   data whose decoding takes the time, and whose decoded pictures fit into
        memory or onto a fast disk.
Hurts   data that does not fit: a picture of 500 x 375 takes 560 kB, five times
        its JPEG. Shrinking at packing changes the data; the plan says so.
Costs   the disk space, and the time to pack.
Source  FFCV's raw mode (Leclerc et al., arXiv 2306.12517) keeps pixels too.
Exact   Yes, except for changes that were made at packing.
"""

from __future__ import annotations

from dataclasses import dataclass

from accel.data.stores.raw_store import RawStore
from accel.parts.shared.store_source import StoreSource

__all__ = ["Raw"]


@dataclass(eq=False)
class Raw(StoreSource):
    """Source that reads the records of SPLIT.raw in place of the files of SPLIT/.

    Args:
        path: folder or URL that holds train.raw and the other splits; auto: the folder that holds the folders of the splits.
    """

    path: str = "auto"
    store = RawStore
