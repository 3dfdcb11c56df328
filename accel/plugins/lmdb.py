"""LMDB: the pictures of a folder, read from one LMDB file per split.

What is read is what the folder holds, sample by sample and bit by bit, where
it was packed with `--encoding original` (the default), `bmp` or `raw`. Make the
files once: `python -m accel pack DIR DIR` puts `train.lmdb` beside `train/`.
Classes, pictures, labels and their order are compared with the folder's; each
record has a crc32, which is compared when it is first read.

Helps   many small files, network disks and cold caches: one file is opened, not
        a million. With `--short-side 256` decoding takes a quarter of the time.
Hurts   nothing where the pictures are in memory and decoding is what takes the
        time. Shrinking and JPEG at packing change the data; the plan says so.
Costs   the disk space of a second copy, and the time to pack.
Source  LMDB, lmdb.tech; py-lmdb. Opened once per process, without locks and
        without read-ahead, with a read transaction per thread.
Exact   yes, but for what was changed at packing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from accel.data.stores.lmdb_store import LMDBStore
from accel.parts.shared.store_source import StoreSource
from accel.system.machine import Need

__all__ = ["LMDB"]


@dataclass(eq=False)
class LMDB(StoreSource):
    """Reads the records of SPLIT.lmdb in place of the files of SPLIT/.

    Args:
        path: the folder or URL that holds train.lmdb and the others; auto: the one that holds the folders of the splits.
    """

    needs: ClassVar[tuple[Need, ...]] = (Need("package:lmdb", extra="lmdb"),)
    path: str = "auto"
    store = LMDBStore
