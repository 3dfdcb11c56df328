"""Pillow as decoder and resampler of pictures: the reference for all others."""

from __future__ import annotations

from functools import cache
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np

from accel.data.codecs.jpeg_header import is_complete
from accel.errors import BadSample, ConfigError
from accel.system.machine import required

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image

__all__ = [
    "FORMATS",
    "MAX_PIXELS",
    "OPTIONAL_FORMATS",
    "check_pixel_limit",
    "decode",
    "formats",
    "from_pixels",
    "is_fast_jpeg",
    "read_size",
    "require_pillow",
    "resample",
    "resample_part",
    "shrink",
]

MAX_PIXELS = 178_956_970
"""Pixels of the largest picture that any decoder decodes: half a gigabyte of RGB, which is Pillow's own limit."""
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "PPM", "WEBP", "TIFF")
"""Formats known by content, whatever the file is called. Pillow would hand others to a program (EPS), or read for seconds."""
OPTIONAL_FORMATS = {"JPEG2000": "jpg_2000", "AVIF": "avif"}
"""Formats that a Pillow may be built without, and its names of what they need."""


@cache
def formats() -> tuple[str, ...]:
    """Return `FORMATS`, and those of `OPTIONAL_FORMATS` that this Pillow decodes."""
    from PIL import features

    known = features.modules | features.codecs | features.features
    return FORMATS + tuple(name for name, need in OPTIONAL_FORMATS.items() if need in known and features.check(need))


@cache
def is_fast_jpeg() -> bool | None:
    """Return whether Pillow decodes JPEGs by libjpeg-turbo; None if it is not installed."""
    try:
        from PIL import features
    except ImportError:
        return None
    return bool(features.check_feature("libjpeg_turbo"))


def require_pillow() -> None:
    """Raise ConfigError if Pillow is not installed."""
    with required("reading pictures needs Pillow", "images"):
        import PIL.Image  # noqa: F401


def check_pixel_limit(width: int, height: int, name: str, limit: int) -> None:
    """Raise BadSample if a picture of this size, in pixels, has more pixels than `limit`."""
    if width * height > limit:
        raise BadSample(
            f"the picture {name} has {width:,} x {height:,} pixels, above the limit of {limit:,}; shrink it or take it away"
        )


def decode(encoded: bytes | bytearray | memoryview, name: str, limit: int = MAX_PIXELS) -> Image:
    """Return the picture of a file in RGB.

    Args:
        encoded: Content of the file.
        name: Name for messages.
        limit: Pixels that the picture may have, checked before any is decoded.

    Raises:
        BadSample: If the picture cannot be decoded to its last row, or is above the limit.
    """
    from PIL import Image, UnidentifiedImageError

    if not is_complete(encoded):
        raise BadSample(f"cannot read the picture {name}: it is truncated; mend the file or take it away")
    try:
        with Image.open(BytesIO(encoded), formats=formats()) as picture:
            check_pixel_limit(*picture.size, name, limit)
            if picture.mode.startswith("I"):  # 16 bits of grey, which convert() would clip to white at 255
                return Image.fromarray(_upper_bytes(np.asarray(picture))).convert("RGB")
            if picture.mode == "F":
                raise ValueError("its pixels are floats, of which nothing says how bright they are")
            picture.info.pop("transparency", None)  # of a palette; convert() warns that it is lost
            return picture.convert("RGB")
    except Image.DecompressionBombError:
        raise BadSample(f"the picture {name} is above the limit of {limit:,} pixels; shrink it or take it away") from None
    except (ConfigError, MemoryError):
        raise
    except Exception as error:  # of a damaged file its parsers raise whatever they come across
        # Pillow repeats the unreadable object's address where it cannot tell the format
        unidentified = "its format is not known" if len(encoded) else "it is empty"
        reason = unidentified if isinstance(error, UnidentifiedImageError) else str(error) or type(error).__name__
        raise BadSample(f"cannot read the picture {name}: {reason}; mend the file or take it away") from None


def _upper_bytes(grey: NDArray[Any]) -> NDArray[np.uint8]:
    """Return the upper byte of each number of 16 bits. Raise ValueError if one has more."""
    if grey.size and (grey.min() < 0 or grey.max() > 0xFFFF):
        raise ValueError("its pixels have more than 16 bits, of which nothing says how bright they are")
    return (grey >> 8).astype(np.uint8)


def read_size(encoded: bytes | memoryview, name: str) -> tuple[int, int]:
    """Return width and height in pixels of the picture in a file, from its header alone.

    Raises:
        BadSample: If the file has no such header.
    """
    from PIL import Image

    try:
        with Image.open(BytesIO(encoded), formats=formats()) as picture:
            return picture.size
    except MemoryError:
        raise
    except Exception:  # as in `decode`
        raise BadSample(f"cannot read the picture {name}; mend the file or take it away") from None


def from_pixels(pixels: NDArray[np.uint8]) -> Image:
    """Return (height, width, 3) uint8 as a picture in RGB."""
    from PIL import Image

    return Image.fromarray(pixels)


def shrink(picture: Image, width: int, height: int) -> Image:
    """Return the picture at a smaller size in pixels: bilinear, with the triangle widened to the scale (antialiased)."""
    from PIL import Image

    return picture.resize((width, height), Image.Resampling.BILINEAR)


def resample(picture: Image, box: tuple[float, float, float, float], side: int) -> NDArray[np.uint8]:
    """Return the part of a picture inside `box` (left, top, right, bottom in pixels) as (side, side, 3) uint8.

    Bilinear, with the triangle widened to the scale if the part shrinks (antialiased). At the border of the box the filter
    reaches over it by up to half the triangle, as far as the picture goes.
    """
    from PIL import Image

    if box != (0, 0, side, side) or picture.size != (side, side):
        picture = picture.resize((side, side), Image.Resampling.BILINEAR, box=box)
    return np.array(picture)


def resample_part(
    pixels: NDArray[np.uint8], at: tuple[int, int], size: tuple[int, int], box: tuple[float, float, float, float], side: int
) -> NDArray[np.uint8]:
    """Return `resample` of a picture of which only a part is decoded, to the same bits.

    Pillow chooses which axis comes first by the shape of the whole picture, and rounds by where the box lies in it. So the part
    is pasted where it belongs in a picture of the whole size, whose other pixels are never read.

    Args:
        pixels: (height, width, 3) uint8: all pixels that the result depends on.
        at: Left and top of them in the picture, in pixels.
        size: Width and height of the picture, in pixels.
        box: As in `resample`, in the picture.
        side: As in `resample`.
    """
    from PIL import Image

    picture = Image.fromarray(pixels)
    if picture.size != size:
        frame = Image.new("RGB", size, None)
        frame.paste(picture, at)
        picture = frame
    return resample(picture, box, side)
