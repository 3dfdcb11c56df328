"""Tiled JPEG: a JPEG whose tiles can be decoded alone, and which any decoder still opens whole.

A JPEG with a restart marker every few MCUs, none of whose restart intervals crosses the end of a row, is a grid of tiles that
were coded independently. A record is such a JPEG with an index of its intervals in one APP9 segment, right after SOI. To read a
crop, `splice` joins the tiles under it, row by row, behind a header of the smaller size, and numbers the restart markers
anew: an ordinary smaller JPEG, for any decoder. Its pixels are those of the whole picture, to the bit.

The APP9 segment, by offset in the record (the index is little endian):

| bytes | content |
|---|---|
| 0 to 1 | SOI of the JPEG |
| 2 to 5 | marker 0xFFE9, and the segment's length (big endian) |
| 6 to 17 | the text `accel-tiles` and a zero byte |
| 18 to 33 | uint32: width and height of the picture, width and height of a tile, in pixels |
| 34 to 37 | uint32: MCUs per tile |
| 38 to 45 | uint32: offsets in the record of the frame header's height, and of the first tile |
| 46 and on | uint32: offset of each tile from the first, row by row; last, that of the scan's end |

The JPEG may be wider than the picture: it is filled up to whole tiles with its last column.

On 250 photographs (mean 469 x 404 pixels) at quality 90 and tiles of 32 x 16 pixels a random resized crop touches about half of
the bytes, and a record is 7 % larger than the JPEG without tiles; without loss, 5 % larger than the original.
"""

from __future__ import annotations

import struct
from io import BytesIO
from math import ceil, floor
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from accel.data.codecs import pillow_decoder
from accel.data.codecs.crops import Box
from accel.data.codecs.jpeg_header import APP9, EOI, RST0, Buffer, parse_header
from accel.data.codecs.restart_markers import insert_restart_markers, restart_intervals
from accel.errors import BadSample, ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image

__all__ = [
    "FIELDS", "FIELDS_OFFSET", "MAGIC", "MAX_OFFSETS", "NARROW_PIXELS", "RESTART_CODES", "Spliced", "TileIndex", "add_index",
    "decode", "encode", "from_jpeg", "is_tiled", "read_index", "splice",
]  # fmt: skip

MAGIC = b"accel-tiles\0"
FIELDS = struct.Struct("<7I")
FIELDS_OFFSET = 6 + len(MAGIC)
"""Offset of the fields: after SOI, the marker of the segment, its length and the text."""
MAX_OFFSETS = (65_533 - len(MAGIC) - FIELDS.size) // 4
"""Offsets that fit into one segment."""
RESTART_CODES = RST0 + np.arange(MAX_OFFSETS, dtype=np.uint8) % 8
"""Second bytes of the restart markers, in their order."""
NARROW_PIXELS = 8
"""In a picture so narrow that a row has one or two values of colour, libjpeg repeats them instead of interpolating."""


Spliced = tuple[bytearray, tuple[int, int], tuple[int, int]]
"""A smaller JPEG; its left and top in the picture; its width and height; in pixels."""


class TileIndex(NamedTuple):
    """Index of a record's tiles: sizes in pixels, offsets in bytes; `offsets` is (tiles + 1,) uint32."""

    width: int
    height: int
    tile: tuple[int, int]
    mcus: int
    height_offset: int
    scan_offset: int
    offsets: NDArray[np.uint32]

    @property
    def tiles_across(self) -> int:
        """Tiles per row."""
        return -(-self.width // self.tile[0])


def is_tiled(record: Buffer) -> bool:
    """Return whether a record is a tiled JPEG."""
    return record[2:4] == b"\xff\xe9" and record[6:FIELDS_OFFSET] == MAGIC


def encode(picture: Image, quality: int = 90, tile: int = 32, subsampling: str = "4:2:0") -> bytes:
    """Return a picture as a tiled JPEG.

    Args:
        picture: RGB or grey; others are converted to RGB.
        quality: Pillow's, from 1 to 100.
        tile: Width of a tile in pixels, a multiple of 16. It is doubled until the index fits into its segment.
        subsampling: 4:2:0, 4:2:2 or 4:4:4.
    """
    width, height = picture.size
    if picture.mode not in ("RGB", "L"):
        picture = picture.convert("RGB")
    grey = picture.mode == "L"
    mcu = 8 if grey or subsampling == "4:4:4" else 16
    rows = -(-height // (16 if subsampling == "4:2:0" and not grey else 8))
    while -(-width // tile) * rows >= MAX_OFFSETS:
        tile *= 2
    if padding := -width % tile:
        edge = picture.crop((width - 1, 0, width, height)).resize((padding, height))
        picture = picture.crop((0, 0, width + padding, height))
        picture.paste(edge, (width, 0))
    stream, more = BytesIO(), {} if grey else {"subsampling": subsampling}
    # codes of its own: some hundredths fewer bytes, which decode in as much less time, to the same pixels
    picture.save(stream, "JPEG", quality=quality, restart_marker_blocks=tile // mcu, optimize=True, **more)
    return add_index(stream.getvalue(), width, "the encoded picture")


def from_jpeg(original: Buffer, name: str, tile: int = 32) -> bytes:
    """Return a JPEG file as a tiled JPEG, without changing a pixel; EXIF, thumbnails and profiles are left out.

    A tile is as many MCUs wide as divides a row of them evenly and comes closest to `tile` pixels; at worst a whole row. It takes
    some tens of milliseconds a photograph.

    Raises:
        ConfigError: If the file is no JPEG, is damaged, or is progressive, arithmetic, 12 bits deep or in several scans, which
            `encode` takes after decoding.
    """
    header = parse_header(original, name)
    if not header.sequential or header.process not in (0xC0, 0xC1):
        kind = "progressive" if header.process == 0xC2 else "not of one sequential scan"
        raise ConfigError(
            f"the JPEG {name} is {kind}, which cannot be tiled as it is: jpegtran (of libjpeg-turbo) makes it sequential "
            "without changing a pixel, or encoding=tiled encodes it anew"
        )
    row, rows = header.grid
    even = [count for count in range(1, row + 1) if row % count == 0 and header.restart_interval % count == 0]
    fitting = [count for count in even if row // count * rows < MAX_OFFSETS]
    if not fitting:
        raise ConfigError(f"the JPEG {name} has too many rows of MCUs for an index; leave it as it is")
    mcus = min(fitting, key=lambda count: abs(count * header.mcu[0] - tile))
    return add_index(insert_restart_markers(original, header, mcus, name), header.width, name)


def add_index(jpeg: bytes, width: int, name: str) -> bytes:
    """Return a JPEG whose restart intervals fill its rows evenly, with its index; `width` is that of the picture in it."""
    header = parse_header(jpeg, name)
    starts = restart_intervals(jpeg, header.scan_offset, name)
    row, rows = header.grid
    interval = header.restart_interval
    if not interval or row % interval or len(starts) - 1 != row // interval * rows:
        raise ConfigError(f"the JPEG {name} has restart intervals that cross its rows")
    grown = FIELDS_OFFSET + FIELDS.size + 4 * len(starts) - 2
    fields = (
        width,
        header.height,
        interval * header.mcu[0],
        header.mcu[1],
        interval,
        header.height_offset + grown,
        header.scan_offset + grown,
    )
    body = MAGIC + FIELDS.pack(*fields) + (starts - header.scan_offset).astype("<u4").tobytes()
    return b"".join([jpeg[:2], struct.pack(">BBH", 0xFF, APP9, len(body) + 2), body, jpeg[2 : int(starts[-1])]])


def read_index(record: Buffer, name: str) -> TileIndex:
    """Return the index of a tiled JPEG.

    Raises:
        BadSample: If the index does not fit the record, which is damaged then.
    """
    try:
        width, height, wide, high, mcus, height_offset, scan_offset = FIELDS.unpack_from(record, FIELDS_OFFSET)
        length = int.from_bytes(record[4:6], "big")
        offsets = np.frombuffer(record, "<u4", (length - 2 - len(MAGIC) - FIELDS.size) // 4, FIELDS_OFFSET + FIELDS.size)
        tiles = -(-width // wide) * -(-height // high)
        good = (
            width and height and len(offsets) == tiles + 1 and FIELDS_OFFSET < height_offset < scan_offset <= len(record)
            and scan_offset + int(offsets[-1]) == len(record)
            and offsets[0] == 0 and np.count_nonzero(offsets[1:] > offsets[:-1] + 1) == tiles
        )  # fmt: skip
    except (struct.error, ValueError, ZeroDivisionError):
        good = False
    if not good:
        raise BadSample(f"cannot read the picture {name}: its index of tiles is damaged or the record truncated; pack it again")
    return TileIndex(width, height, (wide, high), mcus, height_offset, scan_offset, offsets)


def decode(record: bytes | bytearray | memoryview, name: str, limit: int = pillow_decoder.MAX_PIXELS) -> Image:
    """Return the whole picture of a tiled JPEG in RGB, by Pillow. Arguments and errors are those of `pillow_decoder.decode`."""
    picture = pillow_decoder.decode(record, name, limit)
    return picture.crop((0, 0, read_index(record, name).width, picture.height))


def splice(record: Buffer, index: TileIndex, box: Box, margin: int = 1, shrink: int = 1) -> Spliced:
    """Return a smaller JPEG of the tiles under a box.

    Args:
        record: Tiled JPEG.
        index: Its index.
        box: Left, top, right and bottom in pixels, inside the picture.
        margin: Pixels around the box to include, as far as the picture goes. The decoder's upsampling of the colours reads
            one; a decoder that shrinks by k reads k.
        shrink: Factor by which the decoder will shrink.

    Returns:
        The JPEG; its left and top in the picture; its width and height; in pixels.
    """
    (wide, high), source = index.tile, memoryview(record)
    full = source[index.height_offset + 2] << 8 | source[index.height_offset + 3]
    first, last = _columns(index, box, margin, full, shrink)
    top, bottom = max(0, floor(box[1]) - margin) // high, min(-(-index.height // high), -(-(ceil(box[3]) + margin) // high))
    begin, after = index.scan_offset, 4 + (source[4] << 8 | source[5])  # the index itself is left out
    rows, ends = _rows(source, index, (first, last), (top, bottom), 2 + begin - after)
    joined = bytearray().join([source[:2], source[after:begin], *rows])
    markers = np.frombuffer(joined, np.uint8)
    markers[ends] = RESTART_CODES[: len(ends)]
    markers[-1] = EOI
    width, height = min(full - first * wide, (last - first) * wide), min(index.height - top * high, (bottom - top) * high)
    struct.pack_into(">2H", joined, index.height_offset + 2 - after, height, width)
    return joined, (first * wide, top * high), (width, height)


def _columns(index: TileIndex, box: Box, margin: int, full: int, shrink: int) -> tuple[int, int]:
    """Return the columns of tiles under a box, from first to before last; `full` is the width of the JPEG in pixels."""
    wide, across = index.tile[0], index.tiles_across
    first, last = max(0, floor(box[0]) - margin) // wide, min(across, -(-(ceil(box[2]) + margin) // wide))
    while min(full, last * wide) - first * wide <= NARROW_PIXELS * shrink and last - first < across:
        first, last = (first - 1, last) if first else (first, last + 1)
    return first, last


def _rows(
    source: memoryview, index: TileIndex, columns: tuple[int, int], rows: tuple[int, int], head: int
) -> tuple[list[memoryview], NDArray[np.int64]]:
    """Return the bytes of tiles, without a copy, a view for each row of them; and where each tile's last byte comes to lie.

    `head` is the number of bytes before the first of them.
    """
    (first, last), (top, bottom), across, begin = columns, rows, index.tiles_across, index.scan_offset
    # where the tiles of each row begin, and where its last one ends
    shape, begins = (bottom - top, last - first + 1), 4 * (top * across + first)
    lines: NDArray[np.uint32] = np.ndarray(shape, "<u4", index.offsets, begins, (4 * across, 4))
    views, shifts = [], []
    for left, right in zip(lines[:, 0].tolist(), lines[:, -1].tolist(), strict=True):
        views.append(source[begin + left : begin + right])
        shifts.append(left + 1 - head)
        head += right - left
    return views, (lines[:, 1:] - np.array(shifts)[:, None]).ravel()
