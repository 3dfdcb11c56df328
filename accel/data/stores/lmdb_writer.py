"""Writer of LMDB stores."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from accel.data.stores import lmdb_pages
from accel.data.stores.index import RecordIndex
from accel.data.stores.lmdb_store import HEADER, INDEX, KEY, require_lmdb
from accel.data.stores.record_format import HEAD, EncodedPicture, is_intact
from accel.data.stores.store_writer import StoreWriter
from accel.errors import ConfigError
from accel.system.own_files import remove_link

__all__ = ["INITIAL_MAP_SIZE", "LMDBWriter"]

INITIAL_MAP_SIZE = 1 << 26
"""Bytes of the map at first; doubled whenever it is full. The file is no larger than its content."""


class LMDBWriter(StoreWriter):
    """Writer of an LMDB store, with one transaction per `add`: after a crash the file holds intact records, in order.

    Args:
        part: The unfinished file.
        map_size: Bytes of the map at first.
    """

    def __init__(self, part: Path, map_size: int = INITIAL_MAP_SIZE) -> None:
        super().__init__(part)
        self.lmdb = require_lmdb()
        remove_link(part)
        if part.exists():
            with suppress(ConfigError), open(part, "rb") as file:
                map_size = max(map_size, 2 * lmdb_pages.newest_meta(file.fileno(), part).size)
                self._open(map_size)
        if not hasattr(self, "env"):  # there is none, or one that broke off before it was one
            part.unlink(missing_ok=True)
            self._open(map_size)

    def _open(self, map_size: int) -> None:
        """Open the file, and recover its intact records."""
        self.map_size = map_size
        self.env = self.lmdb.open(str(self.part), subdir=False, lock=False, map_size=map_size, max_spare_txns=0)
        with self.env.begin(buffers=True) as transaction:
            while (framed := transaction.get(KEY.pack(len(self.crcs)))) is not None and is_intact(framed, len(self.crcs)):
                self._count_record(bytes(framed[: HEAD.size]), len(framed) - HEAD.size)
        self.truncate(len(self.crcs))

    def truncate(self, count: int) -> None:
        def cut(transaction: Any) -> None:
            with transaction.cursor() as cursor:
                while cursor.set_range(KEY.pack(count)):  # the header and the index too, where they are written already
                    cursor.delete()

        self._write(cut)
        del self.crcs[count:], self.sizes[count:]

    def add(self, records: Sequence[EncodedPicture]) -> None:
        heads = [record.head(len(self.crcs) + number) for number, record in enumerate(records)]

        def put(transaction: Any) -> None:
            for number, (head, record) in enumerate(zip(heads, records, strict=True), start=len(self.crcs)):
                transaction.put(KEY.pack(number), head + record.content, append=True)

        self._write(put)
        for head, record in zip(heads, records, strict=True):
            self._count_record(head, len(record.content))

    def _write(self, change: Callable[[Any], None]) -> None:
        """Make `change` in one transaction, tried again with twice the map if it is full."""
        while True:
            try:
                with self.env.begin(write=True) as transaction:
                    change(transaction)
                return
            except self.lmdb.MapFullError:
                self.map_size *= 2
                self.env.set_mapsize(self.map_size)
            except self.lmdb.Error as error:
                self._raise_disk_error()
                raise OSError(errno.EIO, str(error)) from None

    def _raise_disk_error(self) -> None:
        """Raise the OSError that kept LMDB from writing, if there is one.

        If a disk takes a part of a write, LMDB says no more than that it failed.
        """
        with open(self.part, "r+b", buffering=0) as file:
            size = file.seek(0, os.SEEK_END)
            try:
                for _ in range(2):  # what takes a part of the first refuses the second
                    file.write(bytes(1 << 16))
            finally:
                file.truncate(size)

    def _close(self, info: bytes, index: RecordIndex) -> None:
        def put(transaction: Any) -> None:
            transaction.put(HEADER, info, append=True)
            transaction.put(INDEX, index.dump(info), append=True)

        self._write(put)
        self.env.sync(True)
        self.close()
        lmdb_pages.seal(self.part)

    def close(self) -> None:
        self.env.close()
