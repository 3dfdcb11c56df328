"""One record as it lies in a store: a head of 32 bytes with a crc32 over the rest of it and the content, then the content."""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct
from zlib import crc32

__all__ = ["HEAD", "REST", "Content", "size", "whole"]

HEAD = Struct("<IIIIQQ")
"""crc32; label; height and width of the picture, in pixels; index; bytes of the content."""
REST = Struct("<IIIQQ")
"""The same without the crc32."""


@dataclass(frozen=True)
class Content:
    """An encoded picture on its way into a store."""

    label: int
    height: int
    width: int
    content: bytes

    def head(self, index: int) -> bytes:
        """What stands before the content as record `index`. The index is under the crc32: records cannot change places."""
        rest = REST.pack(self.label, self.height, self.width, index, len(self.content))
        return crc32(self.content, crc32(rest)).to_bytes(4, "little") + rest


def whole(sealed: memoryview, index: int) -> bool:
    """Whether `sealed` (head and content) is record `index` as it was written."""
    if len(sealed) < HEAD.size:
        return False
    crc, *_, found, length = HEAD.unpack_from(sealed)
    return bool(found == index and length == len(sealed) - HEAD.size and crc == crc32(sealed[4:]))


def size(sealed: memoryview) -> tuple[int, int]:
    """Height and width of the picture, in pixels."""
    _, _, height, width, _, _ = HEAD.unpack_from(sealed)
    return height, width
