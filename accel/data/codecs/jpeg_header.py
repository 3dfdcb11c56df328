"""What a JPEG says of itself before its first pixel, and where its restart markers stand; nothing is decoded.

Source: ITU-T T.81, annex B.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from accel.errors import BadSample, ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "APP0",
    "APP9",
    "APP14",
    "BARE",
    "DHT",
    "DQT",
    "DRI",
    "EOI",
    "FRAMES",
    "RST0",
    "SOI",
    "SOS",
    "Buffer",
    "Component",
    "Header",
    "Segment",
    "ended",
    "header",
    "intervals",
    "is_jpeg",
    "top",
]

Buffer = bytes | bytearray | memoryview

SOI, EOI, SOS, DQT, DHT, DRI, APP0, APP9, APP14, RST0 = 0xD8, 0xD9, 0xDA, 0xDB, 0xC4, 0xDD, 0xE0, 0xE9, 0xEE, 0xD0
FRAMES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
"""The markers of a frame header: 0 and 1 are sequential Huffman coding, 2 is progressive, the others hardly anybody writes."""
BARE = frozenset({0x01, *range(0xD0, 0xD9)})
"""Markers without a length."""


@dataclass(frozen=True, slots=True)
class Segment:
    """One marker segment: its marker's second byte, and where it begins (at 0xFF) and ends in the file."""

    marker: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Component:
    """One colour component: its number, its sampling factors and the quantisation table it uses."""

    number: int
    across: int
    down: int
    table: int


@dataclass(frozen=True, slots=True)
class Header:
    """All that comes before the entropy-coded data of the first scan; sizes in pixels, offsets in bytes.

    `frame` is where the frame header's height stands (two bytes, followed by two of width), `data` where the entropy-coded
    data begin, `restart` the MCUs per restart interval (0: none), `selectors` the first scan's (component number, tables).
    """

    width: int
    height: int
    bits: int
    process: int
    components: tuple[Component, ...]
    selectors: tuple[tuple[int, int], ...]
    restart: int
    frame: int
    data: int
    segments: tuple[Segment, ...]

    @property
    def sequential(self) -> bool:
        """Whether one scan of Huffman codes, 8 bits deep, holds all of it: neither progressive nor component by component."""
        return self.process in (0xC0, 0xC1) and self.bits == 8 and len(self.selectors) == len(self.components)

    @property
    def mcu(self) -> tuple[int, int]:
        """Width and height of a minimum coded unit; of a single component it is one block, whatever its sampling factors."""
        if len(self.components) == 1:
            return 8, 8
        return 8 * max(part.across for part in self.components), 8 * max(part.down for part in self.components)

    @property
    def grid(self) -> tuple[int, int]:
        """MCUs per row, and rows of MCUs."""
        wide, high = self.mcu
        return -(-self.width // wide), -(-self.height // high)


def is_jpeg(data: Buffer) -> bool:
    """Whether it begins as a JPEG does."""
    return len(data) > 3 and data[0] == 0xFF and data[1] == SOI and data[2] == 0xFF


def ended(data: Buffer) -> bool:
    """Whether a JPEG has its end, whatever stands behind it. One without is truncated, also where zeros fill up its length.

    Data that cannot be told to be a JPEG counts as ended: what is wrong with it is for a decoder to say.
    """
    if b"\xff\xd9" in bytes(data[-64:]) or not is_jpeg(data):
        return True
    try:
        start = header(data, "").data  # a thumbnail before it has an end of its own
    except ConfigError:
        return True
    return bytes(data).find(b"\xff\xd9", start) >= 0


def header(data: Buffer, name: str) -> Header:
    """What stands before the first scan of a JPEG.

    Args:
        data: the file.
        name: what to call it in the message.

    Raises:
        BadSample: where it is no JPEG, or ends or contradicts itself before its first scan.
    """
    try:
        return _header(memoryview(data))
    except (ValueError, IndexError) as error:
        why = str(error) if isinstance(error, ValueError) else "it ends within its header"
        raise BadSample(f"cannot read the JPEG {name}: {why}; mend the file or take it away") from None


def _header(data: memoryview) -> Header:
    if not is_jpeg(data):
        raise ValueError("it does not begin as one")
    at, restart, frame, found, segments = 2, 0, 0, None, []
    while True:
        at = _marker(data, at)
        marker = data[at + 1]
        if marker in BARE:
            at += 2
            continue
        length = data[at + 2] << 8 | data[at + 3]
        end = at + 2 + length
        if marker in (SOI, EOI):
            raise ValueError("it has no picture in it")
        if length < 2 or end > len(data):
            raise ValueError("it ends within its header")
        segments.append(Segment(marker, at, end))
        if marker in FRAMES:
            if found:
                raise ValueError("it has two frame headers")
            frame, found = at + 5, _frame(data[at + 4 : end])
        elif marker == DRI:
            restart = data[at + 4] << 8 | data[at + 5]
        elif marker == SOS:
            if not found:
                raise ValueError("it has a scan before its frame header")
            bits, height, width, components = found
            process = data[frame - 4]
            selectors = _scan(data[at + 4 : end], components)
            return Header(width, height, bits, process, components, selectors, restart, frame, end, tuple(segments))
        at = end


def _marker(data: memoryview, at: int) -> int:
    """Where the marker at or after `at` has its last 0xFF: any number of them may fill up before it."""
    if data[at] != 0xFF:
        raise ValueError(f"there is no marker at byte {at}, where one belongs")
    while data[at + 1] == 0xFF:
        at += 1
    return at


def _frame(body: memoryview) -> tuple[int, int, int, tuple[Component, ...]]:
    bits, height, width, count = body[0], body[1] << 8 | body[2], body[3] << 8 | body[4], body[5]
    if not width or not height or not count or len(body) != 6 + 3 * count:
        raise ValueError(f"its frame header says {width} x {height} pixels in {count} components")
    parts = [body[6 + 3 * part : 9 + 3 * part] for part in range(count)]
    components = tuple(Component(part[0], part[1] >> 4, part[1] & 15, part[2]) for part in parts)
    if not all(1 <= factor <= 4 for part in components for factor in (part.across, part.down)):
        raise ValueError("its sampling factors are not from 1 to 4")
    return bits, height, width, components


def _scan(body: memoryview, components: tuple[Component, ...]) -> tuple[tuple[int, int], ...]:
    count = body[0]
    if len(body) != 4 + 2 * count:
        raise ValueError("its scan header has a wrong length")
    selectors = tuple((body[1 + 2 * part], body[2 + 2 * part]) for part in range(count))
    if not {number for number, _ in selectors} <= {part.number for part in components}:
        raise ValueError("its scan has a component that its frame header does not name")
    return selectors


def top(data: Buffer, found: Header, rows: int) -> tuple[bytearray, int]:
    """The file with a header that ends it after `rows` rows, or the few more that fill up an MCU; and how many those are.

    What is left of the coded data is not decoded any more, and a decoder that warns of it must be told not to mind. Rows
    whose colours depend on the next one need it among `rows`.
    """
    high = found.mcu[1]
    rows = min(found.height, -(-rows // high) * high)
    cut = bytearray(data)
    cut[found.frame : found.frame + 2] = rows.to_bytes(2, "big")
    return cut, rows


def intervals(data: Buffer, start: int, name: str) -> NDArray[np.int64]:
    """Where each restart interval of the scan at `start` begins, and, last, where the scan ends (after its EOI marker).

    Each begins after the two bytes of the marker before it, so that interval `i` is `data[found[i] : found[i + 1] - 2]`.

    Raises:
        ConfigError: where the scan does not end, ends with another marker than EOI, or its restart markers miscount.
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
        why = "its restart markers miscount" if kind[last] == EOI else "it has more than one scan, or a marker within its data"
        raise ConfigError(f"cannot read the JPEG {name}: {why}; mend the file or take it away")
    return np.concatenate([[start], start + 1 + markers[: last + 1]])
