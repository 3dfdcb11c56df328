"""Decoding of JPEGs to RGB by the decoder of the settings, with Pillow for files that only Pillow reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from accel.data.codecs import opencv_decoder, pillow_decoder, simplejpeg_decoder
from accel.data.codecs.crops import Box
from accel.data.codecs.jpeg_header import Buffer, Header, is_complete, is_jpeg, parse_header, with_rows
from accel.errors import ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Decoder", "decode", "decode_rows", "rgb_jpeg_header", "shrink_factor"]

Decoder = Literal["pillow", "opencv", "simplejpeg", "scaled"]


def rgb_jpeg_header(record: Buffer, name: str) -> Header | None:
    """Return the header of a JPEG that libjpeg-turbo makes RGB of, or None for all other files, which Pillow decodes."""
    if not is_jpeg(record) or not is_complete(record):
        return None
    try:
        header = parse_header(record, name)
    except ConfigError:
        return None
    convertible = header.precision == 8 and header.process in (0xC0, 0xC1, 0xC2) and len(header.components) in (1, 3)
    return header if convertible else None


def shrink_factor(decoder: Decoder, box: Box, side: int) -> int:
    """Return by how much decoding may shrink a box: 1, 2, 4 or 8, to no less than `side` pixels either way."""
    if decoder != "scaled":
        return 1
    least = min(box[2] - box[0], box[3] - box[1])
    return next(factor for factor in (8, 4, 2, 1) if factor == 1 or least >= factor * side)


def decode(
    decoder: Decoder, jpeg: Buffer, name: str, size: tuple[int, int], limit: int, shrink: int = 1, components: int = 3
) -> NDArray[np.uint8]:
    """Return a JPEG as (height, width, 3) uint8, good until this thread's next picture.

    Args:
        decoder: Decoder to ask first.
        jpeg: The file.
        name: Name for messages.
        size: Its width and height, in pixels.
        limit: Pixels that Pillow may decode.
        shrink: 1, 2, 4 or 8: decode so many times smaller.
        components: Its colour components. Decoders read CMYK (4) differently, so Pillow reads it.

    Raises:
        BadSample: If nobody can decode the JPEG.
    """
    pixels = None
    if components == 4:
        pass
    elif decoder == "opencv":
        pixels = opencv_decoder.decode(jpeg, *size)
    elif decoder != "pillow":
        pixels = simplejpeg_decoder.decode(jpeg, *size, shrink)
    if pixels is None:
        picture = pillow_decoder.decode(jpeg, name, limit)
        pixels = np.asarray(picture.reduce(shrink) if shrink > 1 else picture)
    return pixels


def decode_rows(decoder: Decoder, jpeg: Buffer, header: Header, rows: int, shrink: int = 1) -> NDArray[np.uint8] | None:
    """Return a JPEG's first `rows` rows or more, or None if they cannot be decoded alone.

    simplejpeg ends its work early, if rows come one after another. Arguments and result are otherwise those of `decode`.
    """
    if rows >= header.height or not header.sequential or decoder not in ("simplejpeg", "scaled"):
        return None
    shortened, rows = with_rows(jpeg, header, rows)
    return simplejpeg_decoder.decode(shortened, header.width, rows, shrink, strict=False)
