"""Writing a raw store."""

from __future__ import annotations

import mmap
import os
from collections.abc import Sequence
from pathlib import Path

from accel.data.stores.index import Index
from accel.data.stores.raw_store import START, header
from accel.data.stores.record_format import HEAD, Content, whole
from accel.data.stores.store_writer import Writer

__all__ = ["RawWriter"]


class RawWriter(Writer):
    """Heads say how long each record is, so that an unfinished file is read from the front as far as it is whole."""

    def __init__(self, part: Path) -> None:
        super().__init__(part)
        self.file = os.open(part, os.O_RDWR | os.O_CREAT, 0o644)
        self.starts: list[int] = []
        self.end = START
        if os.fstat(self.file).st_size > START:
            with mmap.mmap(self.file, 0, access=mmap.ACCESS_READ) as mapped, memoryview(mapped) as data:
                self._recover(data)
        os.ftruncate(self.file, self.end)

    def _recover(self, data: memoryview) -> None:
        while self.end + HEAD.size <= len(data):
            length = HEAD.unpack_from(data, self.end)[5]
            with data[self.end : self.end + HEAD.size + length] as sealed:
                if not whole(sealed, len(self.crcs)):
                    return
                self._placed(bytes(sealed[: HEAD.size]), length)

    def _placed(self, head: bytes, length: int) -> None:
        self._added(head, length)
        self.starts.append(self.end)
        self.end += HEAD.size + length

    @property
    def offsets(self) -> list[int]:
        return self.starts

    def keep(self, count: int) -> None:
        if count < len(self.starts):
            self.end = self.starts[count]
            os.ftruncate(self.file, self.end)
            del self.starts[count:], self.crcs[count:], self.sizes[count:]

    def add(self, records: Sequence[Content]) -> None:
        heads = [record.head(len(self.crcs) + number) for number, record in enumerate(records)]
        pairs = list(zip(heads, records, strict=True))
        self._write(b"".join(part for head, record in pairs for part in (head, record.content)), self.end)
        for head, record in pairs:
            self._placed(head, len(record.content))

    def _write(self, data: bytes, place: int) -> None:
        with memoryview(data) as left:
            done = 0
            while done < len(data):  # a disk that is nearly full takes a part, and refuses the next
                done += os.pwrite(self.file, left[done:], place + done)

    def _close(self, about: bytes, index: Index) -> None:
        dumped = index.dump(about)
        self._write(dumped + about, self.end)
        os.ftruncate(self.file, self.end + len(dumped) + len(about))
        os.fsync(self.file)  # the header last: without it the file is no store
        self._write(header(self.end, len(dumped), len(about)), 0)
        os.fsync(self.file)
        self.close()

    def close(self) -> None:
        if self.file >= 0:
            os.close(self.file)
            self.file = -1
