"""Decoding and resampling of pictures, by Pillow."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np

from accel.data.codecs import tiled_jpeg
from accel.data.codecs.jpeg_header import ended
from accel.errors import BadSample, ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image

__all__ = [
    "FORMATS",
    "PIXELS",
    "SUFFIXES",
    "decode",
    "decoded",
    "hold_limit",
    "measure",
    "require_pillow",
    "resample",
    "resample_part",
    "smaller",
]

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp"})
"""What counts as a picture, in small letters."""
PIXELS = 178_956_970
"""The largest picture that is decoded, whoever decodes it: half a gigabyte of RGB, which is Pillow's own limit."""
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "PPM", "WEBP", "TIFF")
"""What is told from the content, whatever the file is called. Others Pillow would hand to a program (EPS), or read for seconds."""


def require_pillow() -> None:
    """Raises ConfigError where Pillow is not installed."""
    try:
        import PIL.Image  # noqa: F401
    except ModuleNotFoundError:
        raise ConfigError("reading pictures needs Pillow: pip install 'accel-train[images]'") from None


def hold_limit(width: int, height: int, name: str, limit: int) -> None:
    """Raises BadSample where a picture of this size has more pixels than `limit`."""
    if width * height > limit:
        raise BadSample(
            f"the picture {name} has {width:,} x {height:,} pixels, above the limit of {limit:,}; shrink it or take it away"
        )


def decode(encoded: bytes | bytearray | memoryview, name: str, limit: int = PIXELS) -> Image:
    """The picture in RGB.

    Args:
        encoded: the content of a picture file, or a record of tiles.
        name: what to call it in the message.
        limit: pixels that it may have; compared before any is decoded.

    Raises:
        BadSample: where it cannot be decoded to its last row, or is above the limit.
    """
    from PIL import Image, UnidentifiedImageError

    if not ended(encoded):
        raise BadSample(f"cannot read the picture {name}: it is truncated; mend the file or take it away")
    try:
        with Image.open(BytesIO(encoded), formats=FORMATS) as picture:
            hold_limit(*picture.size, name, limit)
            if picture.mode.startswith("I"):  # 16 bits of grey, which convert() would clip to white at 255
                return Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8)).convert("RGB")
            picture.info.pop("transparency", None)  # of a palette; convert() warns that it is lost
            whole = picture.convert("RGB")
            return (
                whole.crop((0, 0, tiled_jpeg.index(encoded, name).width, whole.height)) if tiled_jpeg.is_tiled(encoded) else whole
            )
    except Image.DecompressionBombError:
        raise BadSample(f"the picture {name} is above the limit of {limit:,} pixels; shrink it or take it away") from None
    except (ConfigError, MemoryError):
        raise
    except Exception as error:  # of a damaged file its parsers raise whatever they come across
        # Pillow repeats the unreadable object's address where it cannot tell the format
        known = "its format is not known" if len(encoded) else "it is empty"
        why = known if isinstance(error, UnidentifiedImageError) else str(error) or type(error).__name__
        raise BadSample(f"cannot read the picture {name}: {why}; mend the file or take it away") from None


def measure(encoded: bytes | memoryview, name: str) -> tuple[int, int]:
    """Width and height of the picture in a file, from its head alone. Raises BadSample where it has none."""
    from PIL import Image

    try:
        with Image.open(BytesIO(encoded), formats=FORMATS) as picture:
            return picture.size
    except MemoryError:
        raise
    except Exception:  # as in `decode`
        raise BadSample(f"cannot read the picture {name}; mend the file or take it away") from None


def decoded(record: bytes | memoryview, name: str, encoding: str) -> Image:
    """The picture of a store's record, in RGB.

    Args:
        record: encoded as its `encoding` says; of raw, a memoryview of shape (height, width, 3) of bytes.
        name: what to call it in a message.
    """
    if encoding != "raw":
        return decode(record, name)
    from PIL import Image

    return Image.fromarray(np.asarray(record))


def smaller(picture: Image, width: int, height: int) -> Image:
    """The picture at a smaller size: bilinear, the triangle widened to the scale (antialiased)."""
    from PIL import Image

    return picture.resize((width, height), Image.Resampling.BILINEAR)


def resample(picture: Image, box: tuple[float, float, float, float], side: int) -> NDArray[np.uint8]:
    """The part of `picture` inside `box` (left, top, right, bottom in pixels) as (side, side, 3) uint8.

    Bilinear, with the triangle widened to the scale where it shrinks (antialiased); at the border of the box it reaches over
    it by up to half the triangle, as far as the picture goes.
    """
    from PIL import Image

    if box != (0, 0, side, side) or picture.size != (side, side):
        picture = picture.resize((side, side), Image.Resampling.BILINEAR, box=box)
    return np.array(picture)


def resample_part(
    pixels: NDArray[np.uint8], at: tuple[int, int], size: tuple[int, int], box: tuple[float, float, float, float], side: int
) -> NDArray[np.uint8]:
    """`resample` of a picture of which only a part is there, and to the same bits.

    Pillow chooses which axis comes first by the shape of the whole picture, and rounds by where the box lies in it. So the part is
    laid where it belongs in a picture of the whole size, of which nothing else is ever looked at.

    Args:
        pixels: (height, width, 3) uint8: all that the box depends on.
        at: left and top of it in the picture.
        size: width and height of the picture.
        box, side: as `resample` takes them, in the picture.
    """
    from PIL import Image

    picture = Image.fromarray(pixels)
    if picture.size != size:
        frame = Image.new("RGB", size, None)
        frame.paste(picture, at)
        picture = frame
    return resample(picture, box, side)
