"""Writer of raw stores."""

from __future__ import annotations

import mmap
import os
from collections.abc import Sequence
from pathlib import Path

from accel.data.stores.index import RecordIndex
from accel.data.stores.raw_store import RECORDS_OFFSET, pack_header
from accel.data.stores.record_format import HEAD, EncodedPicture, is_intact
from accel.data.stores.store_writer import StoreWriter
from accel.system.own_files import open_own

__all__ = ["RawWriter"]


class RawWriter(StoreWriter):
    """Writer of a raw store. Heads hold the length of each record, so an unfinished file is read from the front."""

    def __init__(self, part: Path) -> None:
        super().__init__(part)
        self.file = open_own(part, os.O_RDWR | os.O_CREAT, 0o644)
        self.starts: list[int] = []
        self.end = RECORDS_OFFSET
        if os.fstat(self.file).st_size > RECORDS_OFFSET:
            with mmap.mmap(self.file, 0, access=mmap.ACCESS_READ) as mapped, memoryview(mapped) as data:
                self._recover(data)
        os.ftruncate(self.file, self.end)

    def _recover(self, data: memoryview) -> None:
        """Note the intact records at the front of an unfinished file."""
        while self.end + HEAD.size <= len(data):
            length = HEAD.unpack_from(data, self.end)[5]
            with data[self.end : self.end + HEAD.size + length] as framed:
                if not is_intact(framed, len(self.crcs)):
                    return
                self._append_entry(bytes(framed[: HEAD.size]), length)

    def _append_entry(self, head: bytes, length: int) -> None:
        """Note a record at the end of the file."""
        self._count_record(head, length)
        self.starts.append(self.end)
        self.end += HEAD.size + length

    @property
    def offsets(self) -> list[int]:
        return self.starts

    def truncate(self, count: int) -> None:
        if count < len(self.starts):
            self.end = self.starts[count]
            os.ftruncate(self.file, self.end)
            del self.starts[count:], self.crcs[count:], self.sizes[count:]

    def add(self, records: Sequence[EncodedPicture]) -> None:
        heads = [record.head(len(self.crcs) + number) for number, record in enumerate(records)]
        pairs = list(zip(heads, records, strict=True))
        self._write(b"".join(part for head, record in pairs for part in (head, record.content)), self.end)
        for head, record in pairs:
            self._append_entry(head, len(record.content))

    def _write(self, data: bytes, offset: int) -> None:
        """Write all of `data` at `offset`."""
        with memoryview(data) as view:
            done = 0
            while done < len(data):  # a disk that is nearly full takes a part, and refuses the next
                done += os.pwrite(self.file, view[done:], offset + done)

    def _close(self, info: bytes, index: RecordIndex) -> None:
        dumped = index.dump(info)
        self._write(dumped + info, self.end)
        os.ftruncate(self.file, self.end + len(dumped) + len(info))
        os.fsync(self.file)  # the header last: without it the file is no store
        self._write(pack_header(self.end, len(dumped), len(info)), 0)
        os.fsync(self.file)
        self.close()

    def close(self) -> None:
        if self.file >= 0:
            os.close(self.file)
            self.file = -1
