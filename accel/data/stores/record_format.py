"""Format of one record in a store: a head of 32 bytes, then the content.

The head, little endian: uint32 crc32 of the rest of the head and the content; uint32 label; uint32 height and width of the
picture, in pixels; uint64 index of the record; uint64 bytes of the content.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct
from zlib import crc32

__all__ = ["CHECKED", "HEAD", "EncodedPicture", "is_intact", "picture_size"]

HEAD = Struct("<IIIIQQ")
"""crc32, label, height, width, index, bytes of the content."""
CHECKED = Struct("<IIIQQ")
"""Fields of the head that the crc32 covers: all but itself."""


@dataclass(frozen=True)
class EncodedPicture:
    """Encoded picture on its way into a store; height and width in pixels."""

    label: int
    height: int
    width: int
    content: bytes

    def head(self, index: int) -> bytes:
        """Return the head of the picture as record `index`. The crc32 covers the index: records cannot change places."""
        fields = CHECKED.pack(self.label, self.height, self.width, index, len(self.content))
        return crc32(self.content, crc32(fields)).to_bytes(4, "little") + fields


def is_intact(framed: memoryview, index: int) -> bool:
    """Return whether head and content are record `index` as it was written."""
    if len(framed) < HEAD.size:
        return False
    crc, *_, number, length = HEAD.unpack_from(framed)
    return bool(number == index and length == len(framed) - HEAD.size and crc == crc32(framed[4:]))


def picture_size(framed: memoryview) -> tuple[int, int]:
    """Return height and width in pixels of the picture in a record, from its head."""
    _, _, height, width, _, _ = HEAD.unpack_from(framed)
    return height, width
