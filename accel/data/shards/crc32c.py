"""CRC-32C, the Castagnoli checksum of TFRecord files: by google-crc32c where it is installed, else by numpy."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["CHUNK", "POLYNOMIAL", "ROWS", "by_google", "by_tables", "crc32c", "masked"]

POLYNOMIAL = 0x82F63B78
"""Castagnoli's, the lowest bit first; RFC 3720."""
CHUNK = 1024
"""Bytes that are looked up at once; the tables for them take 1 MB, and stay in a core's own cache."""

ROWS = 8
"""Chunks at a time; with more, what lies between table and sum leaves the cache."""


@cache
def crc32c() -> Callable[[bytes], int]:
    """Who computes it: a function of bytes.

    >>> hex(crc32c()(b"123456789"))
    '0xe3069283'
    """
    try:
        import google_crc32c
    except ModuleNotFoundError:
        return by_tables
    # its version in Python takes a table lookup for each byte
    return by_google if google_crc32c.implementation == "c" else by_tables


def by_google(data: bytes) -> int:
    """By the processor's own instruction."""
    import google_crc32c

    return int(google_crc32c.value(data))


def by_tables(data: bytes) -> int:
    """By numpy.

    The checksum is linear: that of a chunk is the exclusive or of what each of its bytes does, by its distance from the end.
    """
    state = 0xFFFFFFFF
    values, places = np.frombuffer(data, np.uint8), _places()
    whole = len(values) // CHUNK * CHUNK
    if whole:
        rows = values[:whole].reshape(-1, CHUNK)
        for start in range(0, len(rows), ROWS):
            for part in _sums(rows[start : start + ROWS], places).tolist():
                state = part ^ _forward(state)
    if whole < len(values):
        rest = values[whole:].copy()
        if len(rest) >= 4:
            rest[:4] ^= np.frombuffer(state.to_bytes(4, "little"), np.uint8)
            state = int(_sums(rest[None], places)[0])
        else:
            table = _table()
            for byte in rest.tolist():
                state = int(table[(state ^ byte) & 0xFF]) ^ state >> 8
    return state ^ 0xFFFFFFFF


def masked(crc: int) -> int:
    """As it stands in a TFRecord file."""
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _sums(rows: NDArray[np.uint8], places: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """The checksum of each row from the state 0: (n,) uint32 of (n, at most CHUNK) bytes."""
    found: NDArray[np.uint32] = np.bitwise_xor.reduce(places.take(rows + _starts()[-rows.shape[1] :]), axis=1)
    return found


@cache
def _starts() -> NDArray[np.int64]:
    """Where the table of each byte of a chunk begins."""
    return np.arange(CHUNK - 1, -1, -1, dtype=np.int64) << 8


def _forward(state: int) -> int:
    """The state after CHUNK bytes of zeros, which is linear in it: by its four bytes."""
    zeros = _zeros()
    return zeros[0][state & 0xFF] ^ zeros[1][state >> 8 & 0xFF] ^ zeros[2][state >> 16 & 0xFF] ^ zeros[3][state >> 24]


@cache
def _table() -> NDArray[np.uint32]:
    """What one byte does: (256,)."""
    found = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        found = np.where(found & 1, found >> 1 ^ np.uint32(POLYNOMIAL), found >> 1)
    return found


@cache
def _places() -> NDArray[np.uint32]:
    """What a byte does that so many bytes stand behind: (CHUNK * 256,)."""
    table = _table()
    found = np.empty((CHUNK, 256), np.uint32)
    found[0] = table
    for behind in range(1, CHUNK):
        found[behind] = table[found[behind - 1] & 0xFF] ^ found[behind - 1] >> 8
    return found.ravel()


@cache
def _zeros() -> list[list[int]]:
    """What each of the four bytes of the state becomes over CHUNK bytes of zeros."""
    # the state meets the first four bytes of what follows: byte k of it has CHUNK - 1 - k bytes behind it
    places = _places().reshape(CHUNK, 256)
    return [places[CHUNK - 1 - byte].tolist() for byte in range(4)]
