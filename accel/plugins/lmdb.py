"""LMDB: a source that reads the pictures of a folder from one LMDB file per split.

The samples are those of the folder, bit for bit, if it was packed with
`--encoding original` (the default), `bmp` or `raw`. Make the files once:
`python -m accel pack DIR DIR` puts `train.lmdb` beside `train/`. Classes,
pictures, labels and their order are compared with the folder's. Each record has
a crc32, which is compared when the record is first read.

LMDB files of other tools are read too, if a value is the bytes of a picture's
file: SPLIT.lmdb or SPLIT_lmdb, alone or as a folder with data.mdb. The class is
the folder of a key (n01440764/x.JPEG), or stands in a file of lines `key label`,
or under another key. The layouts of mmcv (meta_info.txt) and of text
recognition (image-000000001, label-000000001) are known by themselves. Such a
file has no crc32. Values that pickle wrote are refused: to read one is to run it.

    plugins.lmdb.labels=DIR/SPLIT.txt
    plugins.lmdb.keys=img-%08d plugins.lmdb.labels=cls-%08d

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
from typing import Any, ClassVar

from accel.data.shards.key_labels import LMDBLayout
from accel.data.shards.lmdb_pictures import LMDBPictures
from accel.data.splits.lmdb_files import open_lmdb
from accel.data.splits.shard_settings import ShardSettings
from accel.data.splits.store_match import SplitStore, locate_store
from accel.parts.shared.store_source import StoreSource
from accel.system.machine import Need

__all__ = ["LMDB"]


@dataclass(eq=False)
class LMDB(StoreSource):
    """Source that reads the records of SPLIT.lmdb in place of the files of SPLIT/.

    Args:
        path: folder or URL that holds train.lmdb and the other splits, or the file or its folder, with SPLIT for the split; auto:
            the folder that holds the folders of the splits.
        keys: keys of the pictures in a file that accel did not pack, as image-%09d or *.JPEG; auto: those with a suffix of
            pictures, or all if none has one.
        labels: where their labels stand: folder; a file of lines `key label`, with SPLIT for the split; a key, as label-%09d; auto.
    """

    needs: ClassVar[tuple[Need, ...]] = (Need("package:lmdb", extra="lmdb"),)
    path: str = "auto"
    keys: str = "auto"
    labels: str = "auto"

    def store_of(self, data: Any, split: str) -> SplitStore:
        file, store, layout = (
            locate_store(data, split, self.path, self.name),
            getattr(data, "store", None),
            self.shard_settings().lmdb,
        )
        if isinstance(store, LMDBPictures) and (store.file, store.layout, store.split) == (str(file), layout, split):
            return store  # which the task opened
        return open_lmdb(file, layout, split)

    def identity(self) -> dict[str, Any] | None:
        """Return the settings, without those of other tools' files that are as they were before there were any."""
        return {name: value for name, value in self.settings.items() if name == "path" or value != "auto"}

    def shard_settings(self) -> ShardSettings:
        return ShardSettings(lmdb=LMDBLayout(self.keys, self.labels))
