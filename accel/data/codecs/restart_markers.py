"""Restart markers of JPEGs: where they stand, and how they are put into a JPEG without changing a pixel.

At a restart, DC values are counted from zero again. So of every component only the first code of an interval changes: from the
difference to the block before, to the value itself. All other bits stay, and move by less than a byte.

Source: ITU-T T.81, F.1.1.5.1 and F.1.2.1.
"""

from __future__ import annotations

import struct
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from accel.data.codecs.huffman import DCCode, HuffmanTable, MCULayout, ac_lookup, dc_lookup, parse_tables, scan_mcus
from accel.data.codecs.jpeg_header import APP0, APP14, DHT, DQT, DRI, EOI, RST0, SOF_MARKERS, SOS, Buffer, Header
from accel.errors import ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["PIXEL_SEGMENTS", "ScannedInterval", "insert_restart_markers", "restart_intervals"]

ScannedInterval = tuple[bytes, list[list[DCCode]], list[int]]
"""Coded data without stuffed zeros, and the result of `scan_mcus`."""
PIXEL_SEGMENTS = SOF_MARKERS | {APP0, APP14, DQT, SOS}
"""Segments that matter for pixels, besides Huffman tables and restart interval, which are written anew."""


def restart_intervals(data: Buffer, start: int, name: str) -> NDArray[np.int64]:
    """Return the offset in bytes of each restart interval of the scan at `start`, and that of the scan's end, after EOI.

    An interval begins after the two bytes of the marker before it: interval `i` is `data[offsets[i] : offsets[i + 1] - 2]`.

    Raises:
        ConfigError: If the scan does not end, ends with another marker than EOI, or its restart markers miscount.
    """
    body = np.frombuffer(data, np.uint8, offset=start)
    after = np.flatnonzero(body[:-1] == 0xFF) + 1
    kind = body[after]
    markers = after[(kind != 0) & (kind != 0xFF)]
    kind = body[markers]
    ends = np.flatnonzero((kind < RST0) | (kind > RST0 + 7))
    if not len(ends):
        raise ConfigError(f"cannot read the JPEG {name}: it is truncated; mend the file or take it away")
    last = int(ends[0])
    if kind[last] != EOI or np.any(kind[:last] != RST0 + np.arange(last) % 8):
        reason = "its restart markers miscount" if kind[last] == EOI else "it has more than one scan, or a marker within its data"
        raise ConfigError(f"cannot read the JPEG {name}: {reason}; mend the file or take it away")
    return np.concatenate([[start], start + 1 + markers[: last + 1]])


def insert_restart_markers(original: Buffer, header: Header, every: int, name: str) -> bytes:
    """Return the JPEG with a restart marker after every `every` MCUs.

    Args:
        original: JPEG of one sequential scan.
        header: Its header.
        every: MCUs per restart interval.
        name: Name for messages.

    Raises:
        ConfigError: If the JPEG is damaged, or has restart markers already, at other places.
    """
    starts = restart_intervals(original, header.scan_offset, name)
    try:
        return _insert(original, header, every, [int(start) for start in starts])
    except (ValueError, IndexError) as error:
        reason = str(error) if isinstance(error, ValueError) else "its coded data are truncated"
        raise ConfigError(f"cannot tile the JPEG {name}: {reason}; mend the file or take it away") from None


def _insert(original: Buffer, header: Header, every: int, starts: list[int]) -> bytes:
    """Return the JPEG of `insert_restart_markers`; `starts` are its restart intervals. Raise ValueError for a damaged one."""
    if header.restart_interval % every:
        raise ValueError(f"it has restart markers already, every {header.restart_interval} MCUs, which {every} do not divide")
    tables = _tables(original, header)
    layout, left = _layout(header, tables), header.grid[0] * header.grid[1]
    intervals: list[ScannedInterval] = []
    for start, end in pairwise(starts):
        coded = bytes(original[start : end - 2]).replace(b"\xff\x00", b"\xff")
        count = min(left, header.restart_interval or left)
        intervals.append((coded, *scan_mcus(coded, layout, count, every)))
        left -= count
    if left:
        raise ValueError("its coded data are truncated")
    for component, (_, pair) in enumerate(header.selectors):
        first = (code for _, mcus, _ in intervals for codes in mcus for code in codes if code.component == component)
        tables[pair >> 4] = tables[pair >> 4].with_symbols({abs(code.value).bit_length() for code in first})
    codes = [tables[pair >> 4].codes() for _, pair in header.selectors]
    body = [
        _encode_interval(bits, first, begin, end, codes)
        for coded, mcus, begins in intervals
        for bits in [np.unpackbits(np.frombuffer(coded, np.uint8))]
        for first, (begin, end) in zip(mcus, pairwise(begins), strict=True)
    ]
    marked = [piece + bytes([0xFF, RST0 + number % 8]) for number, piece in enumerate(body[:-1])]
    return b"".join([_head(original, header, tables, every), *marked, body[-1], bytes([0xFF, EOI])])


def _tables(original: Buffer, header: Header) -> dict[int, HuffmanTable]:
    """Return all Huffman tables of a JPEG, by class << 4 | destination. Raise ValueError if the scan uses another."""
    tables: dict[int, HuffmanTable] = {}
    for segment in header.segments:
        if segment.marker == DHT:
            tables |= parse_tables(bytes(original[segment.start + 4 : segment.end]))
    if not {number for _, pair in header.selectors for number in (pair >> 4, 16 | pair & 15)} <= set(tables):
        raise ValueError("it uses a Huffman table that it does not have")
    return tables


def _layout(header: Header, tables: dict[int, HuffmanTable]) -> MCULayout:
    """Return the blocks of an MCU in the order of the scan; one block, if there is a single component."""
    blocks = {
        component.number: component.horizontal * component.vertical if len(header.components) > 1 else 1
        for component in header.components
    }
    return [
        (component, dc_lookup(tables[pair >> 4]), ac_lookup(tables[16 | pair & 15]))
        for component, (number, pair) in enumerate(header.selectors)
        for _ in range(blocks[number])
    ]


def _encode_interval(
    bits: NDArray[np.uint8], first: list[DCCode], begin: int, end: int, codes: list[dict[int, tuple[int, int]]]
) -> bytes:
    """Return one restart interval: the bits from `begin` to `end`, with the `first` DC codes written as values.

    The last byte is filled up with ones, and a zero is stuffed in after each 0xFF (T.81, F.1.2.3).
    """
    pieces, at = [], begin
    for dc in first:
        size = abs(dc.value).bit_length()
        code, length = codes[dc.component][size]
        extra = dc.value if dc.value >= 0 else dc.value + (1 << size) - 1
        text = format(code << size | extra, f"0{length + size}b")
        pieces += [bits[at : dc.begin], np.frombuffer(text.encode(), np.uint8) & 1]
        at = dc.end
    pieces.append(bits[at:end])
    joined = np.concatenate(pieces)
    padded = np.concatenate([joined, np.ones(-len(joined) % 8, np.uint8)])
    return np.packbits(padded).tobytes().replace(b"\xff", b"\xff\x00")


def _head(original: Buffer, header: Header, tables: dict[int, HuffmanTable], every: int) -> bytes:
    """Return all that comes before the coded data: SOI, the segments that matter, DHT, DRI, SOS."""
    segments = [bytes(original[segment.start : segment.end]) for segment in header.segments if segment.marker in PIXEL_SEGMENTS]
    body = b"".join(table.segment(number) for number, table in sorted(tables.items()))
    huffman = struct.pack(">BBH", 0xFF, DHT, len(body) + 2) + body
    return b"".join([b"\xff\xd8", *segments[:-1], huffman, struct.pack(">BBHH", 0xFF, DRI, 4, every), segments[-1]])
