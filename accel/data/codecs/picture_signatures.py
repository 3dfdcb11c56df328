"""First bytes by which an encoded picture is known."""

from __future__ import annotations

__all__ = ["SIGNATURES", "is_encoded_picture"]

SIGNATURES = (
    b"\xff\xd8\xff",  # JPEG
    b"\x89PNG\r\n\x1a\n",
    b"BM",  # BMP
    b"RIFF",  # WebP
    b"GIF8",
    b"II*\0",  # TIFF, either byte order
    b"MM\0*",
    *(b"P%d" % kind + space for kind in range(1, 8) for space in (b"\n", b" ", b"\r", b"\t")),  # netpbm
)
"""Beginnings of the picture formats that people keep in files of other tools."""


def is_encoded_picture(content: bytes) -> bool:
    """Return whether bytes begin as an encoded picture does."""
    return content.startswith(SIGNATURES) and (content[:4] != b"RIFF" or content[8:12] == b"WEBP")
