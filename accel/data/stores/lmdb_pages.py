"""Pages of an LMDB file, checked before LMDB maps it.

LMDB trusts its file: a missing page is a SIGBUS, and a flipped bit in a page of the tree leads its C code astray. So the pages of
the tree have one crc32 in a seal behind the last page, where LMDB never looks. Records are checked one by one.

The seal, little endian: uint32 bytes of a page, uint32 crc32 of the tree's pages, uint64 last page; the runs of the tree's pages,
uint64 first page and uint64 number of pages each; uint32 crc32 of all before it, uint32 bytes of all before it, 8 bytes signature.

Source: struct MDB_meta, MDB_page and MDB_node of LMDB 0.9 (mdb.c).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from struct import Struct
from typing import NamedTuple
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from accel.errors import ConfigError
from accel.system.own_files import open_own

__all__ = [
    "BODY",
    "BRANCH",
    "CHUNK",
    "DIRTY",
    "LEAF",
    "MAGIC",
    "META",
    "NODE",
    "NO_PAGE",
    "PAGE",
    "SIGNATURE",
    "TAIL",
    "MetaPage",
    "check",
    "newest_meta",
    "seal",
    "tree_pages",
]

META = Struct("=16xIIQQ IHHQQQQQ IHHQQQQQ QQ")
"""A page's header, then magic, version, address, size of the map; twice pad, flags, depth, branch, leaf and overflow pages,
entries, root; last page, transaction. The first pad is the size of a page."""
MAGIC = 0xBEEFC0DE
PAGE, NODE = Struct("=QHHHH"), Struct("=HHHH")
"""Number, pad, flags, lower, upper; the two halves of a size or of a page's number, flags, size of the key."""
BRANCH, LEAF, DIRTY = 1, 2, 16
"""Flags of a page."""
NO_PAGE = (1 << 64) - 1
"""Root of a tree without entries."""
BODY, TAIL = Struct("<IIQ"), Struct("<II8s")
SIGNATURE = b"accel\x00\x01\n"
CHUNK = 1 << 24
"""Bytes that are read at once."""


class MetaPage(NamedTuple):
    """State of the file after a committed transaction.

    Args:
        page_size: Bytes of a page.
        root_page: Number of the tree's root page.
        last_page: Number of the last page.
        transaction: Number of the transaction.
    """

    page_size: int
    root_page: int
    last_page: int
    transaction: int

    @property
    def size(self) -> int:
        """Bytes of the file, at least."""
        return (self.last_page + 1) * self.page_size


def newest_meta(file: int, path: Path) -> MetaPage:
    """Return the newer of the two meta pages of an open file; `path` is named in messages.

    Raises:
        ConfigError: If it is no LMDB file, or ends before its last page.
    """
    first = _read_meta(file, 0)
    second = _read_meta(file, first.page_size) if first else None
    if first is None or second is None:
        raise ConfigError(f"{path} is no LMDB file, or its first pages are damaged; pack it again")
    newest = max(first, second, key=lambda meta: meta.transaction)
    size = os.fstat(file).st_size
    if size < newest.size:
        raise ConfigError(f"the store {path} is cut short: it has {size:,} bytes of {newest.size:,}; copy or pack it again")
    return newest


def _read_meta(file: int, offset: int) -> MetaPage | None:
    """Return the meta page at `offset`, or None if there is none."""
    data = os.pread(file, META.size, offset)
    if len(data) < META.size:
        return None
    magic, version, _, _, page_size, *_, kind, _, _, _, _, _, root, last, transaction = META.unpack(data)
    sound = magic == MAGIC and version == 1 and not kind and 512 <= page_size <= 65536 and page_size & (page_size - 1) == 0
    return MetaPage(page_size, root, last, transaction) if sound else None


def tree_pages(file: int, meta: MetaPage, path: object = "") -> NDArray[np.uint64]:
    """Return the pages that LMDB follows to a record, and the meta pages, as ascending runs.

    Every number in them is compared with the file, so that LMDB can follow them.

    Returns:
        (runs, 2) uint64: number of the first page, number of pages.

    Raises:
        ConfigError: If a page is none that LMDB writes; `path` is named then.
    """
    pages, ahead = {0, 1}, [] if meta.root_page == NO_PAGE else [meta.root_page]
    while ahead:
        number = ahead.pop()
        data = os.pread(file, meta.page_size, number * meta.page_size) if 1 < number <= meta.last_page else b""
        if len(data) < meta.page_size or number in pages:
            raise ConfigError(f"the tree of the store {path} leads out of its file; pack it again")
        pages.add(number)
        try:
            ahead += _next_pages(data, meta)
        except ValueError:
            raise ConfigError(f"page {number} of the store {path} is none that LMDB writes; pack it again") from None
    ordered = np.array(sorted(pages), np.uint64)
    starts = np.flatnonzero(np.diff(ordered, prepend=ordered[0] + np.uint64(2)) != 1)
    return np.stack([ordered[starts], np.diff(np.append(starts, len(ordered))).astype(np.uint64)], axis=1)


def _next_pages(data: bytes, meta: MetaPage) -> list[int]:
    """Return the pages that a page of the tree leads to. Raise ValueError if LMDB would be led out of the page or the file."""
    _, _, flags, lower, _ = PAGE.unpack_from(data)
    places = np.frombuffer(data, "=u2", max(0, lower - PAGE.size) // 2, PAGE.size).astype(np.int64)
    if flags & ~DIRTY not in (BRANCH, LEAF) or not PAGE.size <= lower <= len(data) or (flags & BRANCH and len(places) < 2):
        raise ValueError("no page of a tree")
    if not len(places):
        return []
    if (places & 1).any() or places.min() < lower or places.max() > len(data) - NODE.size:
        raise ValueError("a node outside the page")
    low, high, kinds, keys = (np.frombuffer(data, "=u2").astype(np.int64)[places // 2 + field] for field in range(4))
    ends = places + NODE.size + keys
    if flags & BRANCH:
        if ends.max() > len(data):
            raise ValueError("a key outside the page")
        children: list[int] = (low | high << 16 | kinds << 32).tolist()
        return children
    sizes, apart = low | high << 16, kinds == 1
    if (kinds > 1).any() or (ends + np.where(apart, 8, sizes)).max() > len(data):
        raise ValueError("a value outside the page")
    first = np.frombuffer(data, np.uint8)[ends[apart][:, None] + np.arange(8)].copy().view("<u8").reshape(-1)
    last = first + (np.uint64(PAGE.size) + sizes[apart].astype(np.uint64) + np.uint64(len(data) - 1)) // np.uint64(len(data))
    if (first > meta.last_page).any() or (last > meta.last_page + 1).any():
        raise ValueError("a value outside the file")
    return []


def seal(path: Path) -> None:
    """Write the seal of a finished file behind its last page, and flush it to the disk.

    Raises:
        OSError: If the disk is full, or cannot be written to.
    """
    file = open_own(path, os.O_RDWR)
    try:
        meta = newest_meta(file, path)
        os.ftruncate(file, meta.size)  # of a seal that was never finished
        runs = tree_pages(file, meta, path)
        body = BODY.pack(meta.page_size, _crc(file, runs, meta.page_size), meta.last_page) + runs.astype("<u8").tobytes()
        tail = body + TAIL.pack(crc32(body), len(body), SIGNATURE)
        if os.pwrite(file, tail, meta.size) < len(tail):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(file)
    finally:
        os.close(file)


def check(path: Path) -> None:
    """Compare a file with its seal, in every page of its tree, without mapping it.

    Raises:
        ConfigError: If the file is missing, or differs from the file that was sealed.
    """
    try:
        file = os.open(path, os.O_RDONLY)
    except OSError as error:
        raise ConfigError(f"cannot open the store {path}: {error.strerror}") from None
    try:
        meta = newest_meta(file, path)
        size = os.fstat(file).st_size
        crc, length, signature = TAIL.unpack(os.pread(file, TAIL.size, size - TAIL.size))
        body = os.pread(file, length, meta.size)
        if signature != SIGNATURE or meta.size + length + TAIL.size != size or crc32(body) != crc:
            raise ConfigError(
                f"the store {path} is cut short, damaged, or was not made by accel: what must stand at its end is missing; "
                "copy or pack it again"
            )
        runs = tree_pages(file, meta, path)
        if len(body) != BODY.size + runs.nbytes or body[BODY.size :] != runs.astype("<u8").tobytes():
            raise ConfigError(f"the seal of the store {path} is of another tree; copy or pack it again")
        page_size, crc, last = BODY.unpack_from(body)
        if (page_size, last) != (meta.page_size, meta.last_page) or _crc(file, runs, page_size) != crc:
            raise ConfigError(f"the tree of the store {path} is damaged: its crc32 differs; copy or pack it again")
    finally:
        os.close(file)


def _crc(file: int, runs: NDArray[np.uint64], page_size: int) -> int:
    """Return the crc32 of all pages of `runs`, in order."""
    crc = 0
    for data in _read_runs(file, runs, page_size):
        crc = crc32(data, crc)
    return crc


def _read_runs(file: int, runs: NDArray[np.uint64], page_size: int) -> Iterator[bytes]:
    """Yield the bytes of all pages of `runs`, in order, in chunks."""
    for first, number in runs.tolist():
        for start in range(first * page_size, (first + number) * page_size, CHUNK):
            yield os.pread(file, min(CHUNK, (first + number) * page_size - start), start)
