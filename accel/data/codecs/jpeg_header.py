"""Headers of JPEGs: everything before the first scan. Nothing is decoded.

Source: ITU-T T.81, annex B.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from accel.errors import BadSample, ConfigError

if TYPE_CHECKING:
    pass

__all__ = [
    "APP0",
    "APP9",
    "APP14",
    "DHT",
    "DQT",
    "DRI",
    "EOI",
    "RST0",
    "SOF_MARKERS",
    "SOI",
    "SOS",
    "STANDALONE_MARKERS",
    "Buffer",
    "Component",
    "Header",
    "Segment",
    "is_complete",
    "is_jpeg",
    "parse_header",
    "with_rows",
]

Buffer = bytes | bytearray | memoryview

SOI, EOI, SOS, DQT, DHT, DRI, APP0, APP9, APP14, RST0 = 0xD8, 0xD9, 0xDA, 0xDB, 0xC4, 0xDD, 0xE0, 0xE9, 0xEE, 0xD0
"""Second bytes of markers (T.81, table B.1)."""
SOF_MARKERS = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
"""Markers of a frame header: 0xC0 and 0xC1 are sequential Huffman coding, 0xC2 is progressive; the others are rare."""
STANDALONE_MARKERS = frozenset({0x01, *range(0xD0, 0xD9)})
"""Markers without a length."""


@dataclass(frozen=True, slots=True)
class Segment:
    """Marker segment: the marker's second byte, and the segment's begin (at 0xFF) and end in the file, in bytes."""

    marker: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Component:
    """Colour component: its number, sampling factors and quantisation table."""

    number: int
    horizontal: int
    vertical: int
    table: int


@dataclass(frozen=True, slots=True)
class Header:
    """All that comes before the entropy-coded data of the first scan.

    Args:
        width: Of the picture, in pixels.
        height: Of the picture, in pixels.
        precision: Bits per sample.
        process: Second byte of the frame header's marker, which names the coding process.
        components: Components of the frame.
        selectors: (Component number, DC table << 4 | AC table) of each component of the first scan.
        restart_interval: MCUs per restart interval; 0 for none.
        height_offset: Offset in bytes of the frame header's height (two bytes, followed by two of width).
        scan_offset: Offset in bytes of the entropy-coded data.
        segments: All marker segments up to the scan header, in order.
    """

    width: int
    height: int
    precision: int
    process: int
    components: tuple[Component, ...]
    selectors: tuple[tuple[int, int], ...]
    restart_interval: int
    height_offset: int
    scan_offset: int
    segments: tuple[Segment, ...]

    @property
    def sequential(self) -> bool:
        """Whether one scan of Huffman codes, 8 bits deep, holds the whole picture."""
        return self.process in (0xC0, 0xC1) and self.precision == 8 and len(self.selectors) == len(self.components)

    @property
    def mcu(self) -> tuple[int, int]:
        """Width and height of a minimum coded unit in pixels: one block, if there is a single component."""
        if len(self.components) == 1:
            return 8, 8
        return (
            8 * max(component.horizontal for component in self.components),
            8 * max(component.vertical for component in self.components),
        )

    @property
    def grid(self) -> tuple[int, int]:
        """MCUs per row, and rows of MCUs."""
        wide, high = self.mcu
        return -(-self.width // wide), -(-self.height // high)


def is_jpeg(data: Buffer) -> bool:
    """Return whether the data begin as a JPEG does."""
    return len(data) > 3 and data[0] == 0xFF and data[1] == SOI and data[2] == 0xFF


def is_complete(data: Buffer) -> bool:
    """Return whether a JPEG has its end marker, followed by anything.

    A JPEG without one is truncated, also if zeros fill up its length. Data that are no JPEG count as complete: a decoder says
    what is wrong with them.
    """
    if b"\xff\xd9" in bytes(data[-64:]) or not is_jpeg(data):
        return True
    try:
        start = parse_header(data, "").scan_offset  # a thumbnail before it has an end of its own
    except ConfigError:
        return True
    return bytes(data).find(b"\xff\xd9", start) >= 0


def parse_header(data: Buffer, name: str) -> Header:
    """Return the header of a JPEG.

    Args:
        data: The file.
        name: Name for messages.

    Raises:
        BadSample: If the data are no JPEG, or end or contradict themselves before the first scan.
    """
    try:
        return _parse(memoryview(data))
    except (ValueError, IndexError) as error:
        reason = str(error) if isinstance(error, ValueError) else "it ends within its header"
        raise BadSample(f"cannot read the JPEG {name}: {reason}; mend the file or take it away") from None


def _parse(data: memoryview) -> Header:
    """Return the header. Raise ValueError or IndexError for a damaged one."""
    if not is_jpeg(data):
        raise ValueError("it does not begin as one")
    at, restart_interval, height_offset, frame, segments = 2, 0, 0, None, []
    while True:
        at = _skip_fill(data, at)
        marker = data[at + 1]
        if marker in STANDALONE_MARKERS:
            at += 2
            continue
        length = data[at + 2] << 8 | data[at + 3]
        end = at + 2 + length
        if marker in (SOI, EOI):
            raise ValueError("it has no picture in it")
        if length < 2 or end > len(data):
            raise ValueError("it ends within its header")
        segments.append(Segment(marker, at, end))
        if marker in SOF_MARKERS:
            if frame:
                raise ValueError("it has two frame headers")
            height_offset, frame = at + 5, _parse_frame(data[at + 4 : end])
        elif marker == DRI:
            restart_interval = data[at + 4] << 8 | data[at + 5]
        elif marker == SOS:
            if not frame:
                raise ValueError("it has a scan before its frame header")
            precision, height, width, components = frame
            process, selectors = data[height_offset - 4], _parse_scan(data[at + 4 : end], components)
            return Header(
                width, height, precision, process, components, selectors, restart_interval, height_offset, end, tuple(segments)
            )
        at = end


def _skip_fill(data: memoryview, at: int) -> int:
    """Return the offset of the last 0xFF of the marker at `at`: any number of them may come before it as fill bytes."""
    if data[at] != 0xFF:
        raise ValueError(f"there is no marker at byte {at}, where one belongs")
    while data[at + 1] == 0xFF:
        at += 1
    return at


def _parse_frame(body: memoryview) -> tuple[int, int, int, tuple[Component, ...]]:
    """Return precision in bits, height and width in pixels, and the components of a frame header."""
    precision, height, width, count = body[0], body[1] << 8 | body[2], body[3] << 8 | body[4], body[5]
    if not width or not height or not count or len(body) != 6 + 3 * count:
        raise ValueError(f"its frame header says {width} x {height} pixels in {count} components")
    entries = [body[6 + 3 * number : 9 + 3 * number] for number in range(count)]
    components = tuple(Component(entry[0], entry[1] >> 4, entry[1] & 15, entry[2]) for entry in entries)
    if not all(1 <= factor <= 4 for component in components for factor in (component.horizontal, component.vertical)):
        raise ValueError("its sampling factors are not from 1 to 4")
    return precision, height, width, components


def _parse_scan(body: memoryview, components: tuple[Component, ...]) -> tuple[tuple[int, int], ...]:
    """Return (component number, DC table << 4 | AC table) of each component of a scan header."""
    count = body[0]
    if len(body) != 4 + 2 * count:
        raise ValueError("its scan header has a wrong length")
    selectors = tuple((body[1 + 2 * number], body[2 + 2 * number]) for number in range(count))
    if not {number for number, _ in selectors} <= {component.number for component in components}:
        raise ValueError("its scan has a component that its frame header does not name")
    return selectors


def with_rows(data: Buffer, header: Header, rows: int) -> tuple[bytearray, int]:
    """Return the JPEG with a header that ends the picture after `rows` rows, and the number of rows that it then has.

    Rows are rounded up to whole MCUs. A decoder leaves the rest of the coded data, and must not mind that it does. Rows whose
    colours depend on the next row need that one among `rows`.
    """
    high = header.mcu[1]
    rows = min(header.height, -(-rows // high) * high)
    shortened = bytearray(data)
    shortened[header.height_offset : header.height_offset + 2] = rows.to_bytes(2, "big")
    return shortened, rows
