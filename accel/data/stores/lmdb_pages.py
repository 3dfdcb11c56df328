"""The pages of an LMDB file, looked at before LMDB maps it.

LMDB trusts its file: a page that is missing is a SIGBUS, a flipped bit in one that holds the tree leads its C code astray. So
the pages of the tree have one crc32, which stands behind the last page, where LMDB never looks; records are checked one by one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from struct import Struct
from typing import NamedTuple
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from accel.errors import ConfigError

__all__ = ["BODY", "BRANCH", "CHUNK", "MAGIC", "META", "NODE", "PAGE", "SIGNATURE", "TAIL", "Meta", "check", "meta", "seal", "tree"]

META = Struct("=16xIIQQ IHHQQQQQ IHHQQQQQ QQ")
"""A page's header, then magic, version, address, size of the map; twice pad, flags, depth, branch, leaf and overflow pages,
entries, root; last page, transaction. The first pad is the size of a page (struct MDB_meta of LMDB 0.9)."""
MAGIC = 0xBEEFC0DE
PAGE, NODE = Struct("=QHHHH"), Struct("=HHHH")
"""Number, pad, flags, lower, upper; the two halves of a size or of a page's number, flags, size of the key."""
BRANCH = 1
BODY, TAIL = Struct("<IIQ"), Struct("<II8s")
"""Size of a page, crc32 of the tree's pages, last page; crc32 and size of what stands before it, signature."""
SIGNATURE = b"accel\x00\x01\n"
CHUNK = 1 << 24


class Meta(NamedTuple):
    """Where a committed transaction left the file."""

    page: int
    """Bytes of a page."""
    root: int
    last: int
    """The number of the last page."""
    transaction: int

    @property
    def size(self) -> int:
        """Bytes of the file at least."""
        return (self.last + 1) * self.page


def meta(file: int, path: Path) -> Meta:
    """The newest of the two metas. Raises ConfigError for a file that is none of LMDB's, or ends before its last page."""
    first = _meta(file, 0)
    second = _meta(file, first.page) if first else None
    if first is None or second is None:
        raise ConfigError(f"{path} is no LMDB file, or its first pages are damaged; pack it again")
    newest = max(first, second, key=lambda found: found.transaction)
    have = os.fstat(file).st_size
    if have < newest.size:
        raise ConfigError(f"the store {path} is cut short: it has {have:,} bytes of {newest.size:,}; copy or pack it again")
    return newest


def _meta(file: int, offset: int) -> Meta | None:
    data = os.pread(file, META.size, offset)
    if len(data) < META.size:
        return None
    magic, version, _, _, page, *_, root, last, transaction = META.unpack(data)
    sound = magic == MAGIC and version == 1 and 512 <= page <= 65536 and page & (page - 1) == 0
    return Meta(page, root, last, transaction) if sound else None


def tree(file: int, found: Meta) -> NDArray[np.uint64]:
    """The pages that LMDB follows to a record, in ascending order, the metas among them: (runs, 2), first page and number."""
    pages, ahead = {0, 1}, [found.root]
    while ahead:
        number = ahead.pop()
        pages.add(number)
        data = os.pread(file, found.page, number * found.page)
        _, _, flags, lower, _ = PAGE.unpack_from(data)
        if flags & BRANCH:
            for place in np.frombuffer(data, "=u2", (lower - PAGE.size) // 2, PAGE.size).tolist():
                low, high, top, _ = NODE.unpack_from(data, place)
                ahead.append(low | high << 16 | top << 32)
    ordered = np.array(sorted(pages), np.uint64)
    starts = np.flatnonzero(np.diff(ordered, prepend=ordered[0] + np.uint64(2)) != 1)
    return np.stack([ordered[starts], np.diff(np.append(starts, len(ordered))).astype(np.uint64)], axis=1)


def seal(path: Path) -> None:
    """Puts the crc32 of the tree's pages behind the last page of a finished file, and flushes it to the disk."""
    file = os.open(path, os.O_RDWR)
    try:
        found = meta(file, path)
        os.ftruncate(file, found.size)  # of a seal that was never finished
        runs = tree(file, found)
        body = BODY.pack(found.page, _crc(file, runs, found.page), found.last) + runs.astype("<u8").tobytes()
        tail = body + TAIL.pack(crc32(body), len(body), SIGNATURE)
        if os.pwrite(file, tail, found.size) < len(tail):
            raise OSError(28, "No space left on device")
        os.fsync(file)
    finally:
        os.close(file)


def check(path: Path) -> None:
    """Raises ConfigError where the file is not, in every page of its tree, what `seal` saw. It is not mapped for that."""
    try:
        file = os.open(path, os.O_RDONLY)
    except OSError as error:
        raise ConfigError(f"cannot open the store {path}: {error.strerror}") from None
    try:
        found = meta(file, path)
        size = os.fstat(file).st_size
        crc, length, signature = TAIL.unpack(os.pread(file, TAIL.size, size - TAIL.size))
        body = os.pread(file, length, found.size)
        if signature != SIGNATURE or found.size + length + TAIL.size != size or crc32(body) != crc:
            raise ConfigError(
                f"the store {path} is cut short, damaged, or was not made by accel: what must stand at its end is missing; "
                "copy or pack it again"
            )
        page, crc, last = BODY.unpack_from(body)
        runs = np.frombuffer(body, "<u8", offset=BODY.size).reshape(-1, 2)
        if (page, last) != (found.page, found.last) or _crc(file, runs, page) != crc:
            raise ConfigError(f"the tree of the store {path} is damaged: its crc32 differs; copy or pack it again")
    finally:
        os.close(file)


def _crc(file: int, runs: NDArray[np.uint64], page: int) -> int:
    crc = 0
    for data in _read(file, runs, page):
        crc = crc32(data, crc)
    return crc


def _read(file: int, runs: NDArray[np.uint64], page: int) -> Iterator[bytes]:
    for first, number in runs.tolist():
        for start in range(first * page, (first + number) * page, CHUNK):
            yield os.pread(file, min(CHUNK, (first + number) * page - start), start)
