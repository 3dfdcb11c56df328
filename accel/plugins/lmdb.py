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

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from accel.data.stores.lmdb_store import LMDBStore
from accel.data.stores.match import describe, find, over
from accel.machine import Need
from accel.parts import Source

if TYPE_CHECKING:
    from accel.parts import Run


@dataclass(eq=False)
class LMDB(Source):
    """Reads the records of SPLIT.lmdb in place of the files of SPLIT/.

    Args:
        path: the folder that holds train.lmdb and the others; auto: the one that holds the folders of the splits.
    """

    needs: ClassVar[tuple[Need, ...]] = (Need("package:lmdb", extra="lmdb"),)
    path: str = "auto"

    def setup(self, run: Run) -> None:
        self.found: dict[str, str] = {}
        self.foreign = ""

    def open(self, data: Any, split: str) -> Any:
        if not hasattr(data, "over"):
            self.foreign = type(data).__name__
            return data
        store = LMDBStore(find(data, split, self.path, "lmdb"))
        placed = over(data, store)
        self.found[f"{split} store"] = describe(store)
        return placed

    def notes(self) -> Mapping[str, str]:
        return self.found

    def idle(self, run: Run) -> list[str]:
        return [f"lmdb has no effect: the data is a {self.foreign}, which reads from no store"] if self.foreign else []
