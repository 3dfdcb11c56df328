"""LMDB: a source that reads the pictures of a folder from one LMDB file per split.

The samples are those of the folder, bit for bit, if it was packed with
`--encoding original` (the default), `bmp` or `raw`. Make the files once:
`python -m accel pack DIR DIR` puts `train.lmdb` beside `train/`. Classes,
pictures, labels and their order are compared with the folder's. Each record has
a crc32, which is compared when the record is first read.

Helps   many small files, network disks and cold caches: one file is opened, not
        a million. With `--short-side 256` decoding takes a quarter of the time.
Hurts   nothing; it is no faster if the pictures are in memory and decoding
        takes the time. Shrinking and JPEG at packing change the data; the plan
        says so.
Costs   the disk space of a second copy, and the time to pack.
Source  LMDB, lmdb.tech; py-lmdb. The file is opened once per process, without
        locks and without read-ahead, with a read transaction per thread.
Exact   Yes, except for changes that were made at packing.
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
    """Source that reads the records of SPLIT.lmdb in place of the files of SPLIT/.

    Args:
        path: folder or URL that holds train.lmdb and the other splits; auto: the folder that holds the folders of the splits.
    """

    needs: ClassVar[tuple[Need, ...]] = (Need("package:lmdb", extra="lmdb"),)
    path: str = "auto"
    store = LMDBStore
