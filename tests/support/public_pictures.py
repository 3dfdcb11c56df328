"""Pictures of the kinds that public data sets hold, drawn here: small, and the same in every run."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

from tests.support.drawn_images import drawing, jpeg

DRAWN = drawing(43, 29)
DEEP = (np.arange(43 * 29, dtype=np.uint16) * 49).reshape(29, 43)


def encoded(picture: Image.Image, format: str, **more: Any) -> bytes:
    stream = BytesIO()
    picture.save(stream, format, **more)
    return stream.getvalue()


def frames() -> dict[str, Any]:
    """Settings that save a second picture behind the first; each format marks the object that it is given."""
    return {"save_all": True, "append_images": [drawing(43, 29, seed=1)]}


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def patched(content: bytes, marker: bytes, offset: int, value: int) -> bytes:
    """Change the byte at an offset behind a marker."""
    at = content.index(marker) + offset
    return content[:at] + bytes([value]) + content[at + 1 :]


def without_segment(content: bytes, marker: bytes) -> bytes:
    at = content.index(marker)
    return content[:at] + content[at + 2 + int.from_bytes(content[at + 2 : at + 4], "big") :]


def deep_png() -> bytes:
    """A PNG of 16 bits in each of three channels, which Pillow does not write."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")

    rows = b"".join(b"\0" + np.stack([row, row[::-1], row // 2], -1).astype(">u2").tobytes() for row in DEEP)
    head = struct.pack(">IIBBBBB", 43, 29, 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


PLAIN = jpeg(DRAWN)
CMYK = jpeg(DRAWN.convert("CMYK"), "4:4:4")
"""As Adobe writes it: inverted, with a segment APP14."""
PALETTE = DRAWN.quantize(200)
SOUND = {
    "cmyk of adobe": CMYK,
    "cmyk of others": without_segment(CMYK, b"\xff\xee"),
    "ycck": patched(CMYK, b"Adobe\0", 11, 2),
    "rgb jpeg": jpeg(DRAWN, "4:4:4", keep_rgb=True),
    "mpo": encoded(DRAWN, "MPO", **frames()),
    "progressive": jpeg(DRAWN, progressive=True),
    "progressive cmyk": jpeg(DRAWN.convert("CMYK"), "4:4:4", progressive=True),
    "grey jpeg": jpeg(DRAWN.convert("L"), "grey"),
    "restart markers": jpeg(DRAWN, restart_marker_blocks=1),
    "one pixel": jpeg(DRAWN.resize((1, 1))),
    "one column": jpeg(DRAWN.resize((1, 31))),
    "corrupt behind its end": PLAIN + b"\xff\xd8\xff\x00garbage" * 9,
    "profile and comment": jpeg(DRAWN, icc_profile=bytes(70_000), comment=b"x" * 300),
    **{f"turned {number}": jpeg(DRAWN, exif=turned(number)) for number in range(1, 9)},
    **{f"png turned {number}": encoded(DRAWN, "PNG", exif=turned(number)) for number in (3, 6)},
    "webp turned": encoded(DRAWN, "WEBP", lossless=True, exif=turned(6)),
    "png of 16 bits": encoded(Image.fromarray(DEEP), "PNG"),
    "colour png of 16 bits": deep_png(),
    "tiff of 16 bits": encoded(Image.fromarray(DEEP), "TIFF"),
    "big-endian tiff of 16 bits": encoded(Image.frombytes("I;16B", (43, 29), DEEP.astype(">u2").tobytes()), "TIFF"),
    "pgm of 16 bits": b"P5 43 29 65535\n" + DEEP.astype(">u2").tobytes(),
    "palette": encoded(PALETTE, "PNG"),
    "palette and one transparent colour": encoded(PALETTE, "PNG", transparency=3),
    "palette and alpha": encoded(PALETTE, "PNG", transparency=bytes(range(200))),
    "rgb and one transparent colour": encoded(DRAWN, "PNG", transparency=(1, 2, 3)),
    "alpha": encoded(DRAWN.convert("RGBA"), "PNG"),
    "grey and alpha": encoded(DRAWN.convert("LA"), "PNG"),
    "one bit": encoded(DRAWN.convert("1"), "PNG"),
    "fax": encoded(DRAWN.convert("1"), "TIFF", compression="group4"),
    "tiff lzw": encoded(DRAWN, "TIFF", compression="tiff_lzw"),
    "tiff jpeg": encoded(DRAWN, "TIFF", compression="jpeg"),
    "tiff cmyk": encoded(DRAWN.convert("CMYK"), "TIFF"),
    "pages": encoded(DRAWN, "TIFF", **frames()),
    "gif": encoded(DRAWN, "GIF"),
    "moving gif": encoded(DRAWN, "GIF", **frames()),
    "moving webp": encoded(DRAWN, "WEBP", lossless=True, **frames()),
    "moving png": encoded(DRAWN, "PNG", **frames()),
    "webp and alpha": encoded(DRAWN.convert("RGBA"), "WEBP", lossless=True),
    "bmp of 8 bits": encoded(PALETTE, "BMP"),
    "bmp and alpha": encoded(DRAWN.convert("RGBA"), "BMP"),
    "jpeg 2000": encoded(DRAWN, "JPEG2000"),
}
"""Pictures that every decoder shows as Pillow does."""
FRAME = b"\xff\xc0"
BAD = {
    "truncated": PLAIN[: len(PLAIN) * 2 // 3],
    "without its end": PLAIN[:-2],
    "truncated progressive": SOUND["progressive"][:-40],
    "truncated cmyk": CMYK[: len(CMYK) // 2],
    "12 bits": patched(PLAIN, FRAME, 4, 12),
    "lossless jpeg": patched(PLAIN, FRAME, 1, 0xC3),
    "no pixels": patched(patched(PLAIN, FRAME, 5, 0), FRAME, 6, 0),
    "truncated png": SOUND["alpha"][:-200],
    "truncated gif": SOUND["gif"][:300],
    "truncated tiff": SOUND["tiff lzw"][: len(SOUND["tiff lzw"]) // 2],
    "truncated jpeg 2000": SOUND["jpeg 2000"][:100],
    "floats": encoded(Image.fromarray(np.linspace(0, 1, 100, dtype=np.float32).reshape(10, 10)), "TIFF"),
    "32 bits": encoded(Image.fromarray(np.arange(100, dtype=np.int32).reshape(10, 10) << 20), "TIFF"),
    "icon": encoded(DRAWN, "ICO", sizes=[(16, 16)]),
    "empty": b"",
}
"""Files of which no decoder shows anything."""
TRANSPOSED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_90,
}  # fmt: skip
"""How an orientation is undone."""
