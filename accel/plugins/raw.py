"""Raw: decoded pictures, read from one memory-mapped file per split.

A record is the pixels themselves, so that nothing is decoded and only the rows
under a crop are read. Make the files once: `python -m accel pack DIR DIR
--format raw --short-side 256` puts `train.raw` beside `train/`. Classes,
pictures, labels and their order are compared with the folder's; each record has
a crc32, which is compared when it is first read.

Helps   where decoding is what takes the time, and the decoded pictures fit into
        memory or onto a fast disk.
Hurts   where they do not: a picture of 500 x 375 takes 560 kB, five times its
        JPEG. Shrinking at packing changes the data; the plan says so.
Costs   the disk space, and the time to pack.
Source  FFCV's raw mode (Leclerc et al., arXiv 2306.12517) keeps pixels too.
Exact   yes, but for what was changed at packing.
"""

from __future__ import annotations

from dataclasses import dataclass

from accel.data.stores.raw_store import RawStore
from accel.parts.shared.store_source import StoreSource

__all__ = ["Raw"]


@dataclass(eq=False)
class Raw(StoreSource):
    """Reads the records of SPLIT.raw in place of the files of SPLIT/.

    Args:
        path: the folder or URL that holds train.raw and the others; auto: the one that holds the folders of the splits.
    """

    path: str = "auto"
    store = RawStore
