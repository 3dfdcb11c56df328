"""Entries of an LMDB file, found by reading its pages: keys, and where their values lie.

LMDB's own code follows whatever a page says, wherever that leads. Here every number is compared with the file before it is used, so
a file of any origin is read or refused. Nothing is mapped and nothing locked: threads, forks and several readers need no rules.

Source: struct MDB_meta, MDB_page and MDB_node of LMDB 0.9 (mdb.c).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from accel.data.shards.range_reader import RandomAccessFile
from accel.data.stores.lmdb_pages import BRANCH, LEAF, MAGIC, META, NO_PAGE, NODE, PAGE
from accel.errors import ConfigError

__all__ = ["DUPLICATES", "OVERFLOW", "SUBDATABASE", "Entry", "lmdb_entries"]

OVERFLOW, SUBDATABASE, DUPLICATES = 1, 2, 4
"""Flags of a node: its value lies in pages of its own; it is a database inside the database; its key has several values."""


class Entry(NamedTuple):
    """Entry of an LMDB file.

    Args:
        key: Its key.
        offset: Offset of its value in the file, in bytes.
        size: Bytes of its value.
    """

    key: bytes
    offset: int
    size: int


class _Tree(NamedTuple):
    page_size: int
    root: int
    last: int
    transaction: int


def lmdb_entries(file: RandomAccessFile) -> Iterator[Entry]:
    """Yield the entries of the main database, in the order of their keys, without reading their values.

    Raises:
        ConfigError: If it is no LMDB file, is cut short or damaged, or holds databases inside the main one.
    """
    tree = _newest_tree(file)
    ahead, visited = [] if tree.root == NO_PAGE else [tree.root], 0
    while ahead:
        number = ahead.pop()
        page = file.read(number * tree.page_size, tree.page_size) if number <= tree.last else b""
        visited += 1
        if len(page) < tree.page_size or visited > tree.last + 1:
            raise _damage(file, number)
        own_number, _, flags, lower, _ = PAGE.unpack_from(page)
        if own_number != number or not PAGE.size <= lower <= tree.page_size or flags & (BRANCH | LEAF) not in (BRANCH, LEAF):
            raise _damage(file, number)
        places = np.frombuffer(page, "=u2", (lower - PAGE.size) // 2, PAGE.size).tolist()
        if any(place + NODE.size > tree.page_size for place in places):
            raise _damage(file, number)
        if flags & BRANCH:
            nodes = [NODE.unpack_from(page, place) for place in places]
            ahead += [low | high << 16 | top << 32 for low, high, top, _ in reversed(nodes)]
        else:
            for place in places:
                yield _entry(file, tree, number, page, place)


def _entry(file: RandomAccessFile, tree: _Tree, number: int, page: bytes, place: int) -> Entry:
    """Return the entry of a node at `place` of a leaf page. Raise ConfigError if it leads out of the file."""
    low, high, flags, length = NODE.unpack_from(page, place)
    start, size = place + NODE.size + length, low | high << 16
    key = page[place + NODE.size : start]
    if flags & (SUBDATABASE | DUPLICATES):
        raise ConfigError(
            f"{file.name} holds databases inside the database, or several values of one key ({key[:40].decode(errors='replace')}); "
            "write an LMDB file with one value for each key"
        )
    if not flags & OVERFLOW:
        offset, end = number * tree.page_size + start, number * tree.page_size + tree.page_size
    else:
        first = int.from_bytes(page[start : start + 8], "little")
        offset, end = first * tree.page_size + PAGE.size, (tree.last + 1) * tree.page_size
    if offset + size > end or len(key) < length:
        raise _damage(file, number)
    return Entry(key, offset, size)


def _newest_tree(file: RandomAccessFile) -> _Tree:
    """Return the newer of the two states that a file describes. Raise ConfigError if it is no LMDB file, or is cut short."""
    first = _read_tree(file, 0)
    second = _read_tree(file, first.page_size) if first else None
    if first is None or second is None or first.page_size != second.page_size:
        raise ConfigError(f"{file.name} is no LMDB file, or its first pages are damaged; copy or make it again")
    newest = max(first, second, key=lambda tree: tree.transaction)
    if file.size < (size := (newest.last + 1) * newest.page_size):
        raise ConfigError(f"{file.name} is cut short: it has {file.size:,} bytes of {size:,}; copy or make it again")
    return newest


def _read_tree(file: RandomAccessFile, offset: int) -> _Tree | None:
    """Return the state that the meta page at `offset` describes, or None if there is none."""
    data = file.read(offset, META.size) if offset + META.size <= file.size else b""
    if len(data) < META.size:
        return None
    magic, version, _, _, page_size, *_, root, last, transaction = META.unpack(data)
    sound = magic == MAGIC and version == 1 and 512 <= page_size <= 65536 and page_size & (page_size - 1) == 0
    return _Tree(page_size, root, last, transaction) if sound else None


def _damage(file: RandomAccessFile, number: int) -> ConfigError:
    return ConfigError(f"{file.name} is damaged: its page {number:,} is none that LMDB writes; copy or make it again")
