"""Restart markers put into a JPEG without changing a pixel.

At a restart the DC values are counted from zero again. So of every component only the first code of an interval changes: from
the difference to the block before to the value itself. All other bits stay, and move by less than a byte.

Source: ITU-T T.81, F.1.1.5.1 and F.1.2.1.
"""

from __future__ import annotations

import struct
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from accel.data.codecs.huffman import Layout, Start, Table, ac_lookup, dc_lookup, tables, walk
from accel.data.codecs.jpeg_header import APP0, APP14, DHT, DQT, DRI, EOI, FRAMES, RST0, SOS, Buffer, Header, intervals
from accel.errors import ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["KEPT", "Piece", "restarted"]

Piece = tuple[bytes, list[list[Start]], list[int]]
"""Coded data without stuffed zeros, and what a walk over them found."""
KEPT = FRAMES | {APP0, APP14, DQT, SOS}
"""Segments that matter for pixels, besides the Huffman tables and the restart interval, which are written anew."""


def restarted(original: Buffer, header: Header, every: int, name: str) -> bytes:
    """The JPEG with a restart marker after every `every` MCUs.

    Args:
        original: a JPEG of one sequential scan.
        header: its header.
        every: MCUs per restart interval.
        name: what to call it in the message.

    Raises:
        ConfigError: where it is damaged, or has restart markers already, at other places.
    """
    starts = intervals(original, header.data, name)
    try:
        return _restarted(original, header, every, [int(start) for start in starts])
    except (ValueError, IndexError) as error:
        why = str(error) if isinstance(error, ValueError) else "its coded data are truncated"
        raise ConfigError(f"cannot tile the JPEG {name}: {why}; mend the file or take it away") from None


def _restarted(original: Buffer, header: Header, every: int, starts: list[int]) -> bytes:
    if header.restart % every:
        raise ValueError(f"it has restart markers already, every {header.restart} MCUs, which {every} do not divide")
    found = _tables(original, header)
    layout, left = _layout(header, found), header.grid[0] * header.grid[1]
    pieces: list[Piece] = []
    for start, end in pairwise(starts):
        coded = bytes(original[start : end - 2]).replace(b"\xff\x00", b"\xff")
        count = min(left, header.restart or left)
        pieces.append((coded, *walk(coded, layout, count, every)))
        left -= count
    if left:
        raise ValueError("its coded data are truncated")
    for part, (_, pair) in enumerate(header.selectors):
        starting = (start for _, lists, _ in pieces for here in lists for start in here if start.component == part)
        found[pair >> 4] = found[pair >> 4].with_symbols({abs(start.value).bit_length() for start in starting})
    codes = [found[pair >> 4].codes() for _, pair in header.selectors]
    body = [
        _interval(bits, here, begin, end, codes)
        for coded, lists, begins in pieces
        for bits in [np.unpackbits(np.frombuffer(coded, np.uint8))]
        for here, (begin, end) in zip(lists, pairwise(begins), strict=True)
    ]
    marked = [piece + bytes([0xFF, RST0 + number % 8]) for number, piece in enumerate(body[:-1])]
    return b"".join([_head(original, header, found, every), *marked, body[-1], bytes([0xFF, EOI])])


def _tables(original: Buffer, header: Header) -> dict[int, Table]:
    found: dict[int, Table] = {}
    for segment in header.segments:
        if segment.marker == DHT:
            found |= tables(bytes(original[segment.start + 4 : segment.end]))
    if not {number for _, pair in header.selectors for number in (pair >> 4, 16 | pair & 15)} <= set(found):
        raise ValueError("it uses a Huffman table that it does not have")
    return found


def _layout(header: Header, found: dict[int, Table]) -> Layout:
    """The blocks of an MCU in the order of the scan; of a single component it is one."""
    shapes = {part.number: part.across * part.down if len(header.components) > 1 else 1 for part in header.components}
    return [
        (part, dc_lookup(found[pair >> 4]), ac_lookup(found[16 | pair & 15]))
        for part, (number, pair) in enumerate(header.selectors)
        for _ in range(shapes[number])
    ]


def _interval(bits: NDArray[np.uint8], starts: list[Start], begin: int, end: int, codes: list[dict[int, tuple[int, int]]]) -> bytes:
    """The bits from `begin` to `end` with the first DC codes as values, filled up with ones to whole bytes, zeros stuffed in."""
    pieces, at = [], begin
    for start in starts:
        size = abs(start.value).bit_length()
        code, length = codes[start.component][size]
        extra = start.value if start.value >= 0 else start.value + (1 << size) - 1
        text = format(code << size | extra, f"0{length + size}b")
        pieces += [bits[at : start.at], np.frombuffer(text.encode(), np.uint8) & 1]
        at = start.end
    pieces.append(bits[at:end])
    joined = np.concatenate(pieces)
    padded = np.concatenate([joined, np.ones(-len(joined) % 8, np.uint8)])
    return np.packbits(padded).tobytes().replace(b"\xff", b"\xff\x00")


def _head(original: Buffer, header: Header, found: dict[int, Table], every: int) -> bytes:
    kept = [bytes(original[segment.start : segment.end]) for segment in header.segments if segment.marker in KEPT]
    body = b"".join(table.segment(number) for number, table in sorted(found.items()))
    huffman = struct.pack(">BBH", 0xFF, DHT, len(body) + 2) + body
    return b"".join([b"\xff\xd8", *kept[:-1], huffman, struct.pack(">BBHH", 0xFF, DRI, 4, every), kept[-1]])
