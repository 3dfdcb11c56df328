"""Pictures of known size, whose pixels are decoded when a crop of them is asked for."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import ceil
from typing import TYPE_CHECKING, Protocol

import numpy as np

from accel.data.codecs import jpeg_decoder, pillow_decoder, tiled_jpeg
from accel.data.codecs.crops import Box
from accel.data.codecs.jpeg_decoder import Decoder
from accel.data.codecs.jpeg_header import Buffer, Header
from accel.data.codecs.resample import Filter, filter_margin, resample, window, write_part

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image

__all__ = ["DecodedPicture", "JpegPicture", "Picture", "RawPicture", "TiledPicture", "WriteCrop"]


WriteCrop = Callable[["NDArray[np.uint8]"], object]
"""Function that writes a crop into (side, side, 3) uint8."""


class Picture(Protocol):
    """Picture of known size, in pixels (width, height), that is decoded no further than it is asked for."""

    size: tuple[int, int]

    def resized_crop(self, box: Box, side: int, out: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
        """Return the part inside `box`, resampled to (side, side, 3) uint8.

        Args:
            box: Left, top, right, bottom in pixels, inside the picture.
            side: Of the result, in pixels.
            out: (side, side, 3) uint8 to fill and return; None for a new array.

        Raises:
            BadSample: If that part cannot be decoded.
        """

    def prepare(self, box: Box, side: int) -> WriteCrop:
        """Return the function that writes `resized_crop` into given memory. What needs no pixels is done before; errors too."""

    def decode(self) -> NDArray[np.uint8]:
        """Return the whole picture as (height, width, 3) uint8, good until this thread's next picture.

        Raises:
            BadSample: If the picture cannot be decoded.
        """


class DecodedPicture:
    """Picture that Pillow has decoded."""

    def __init__(self, image: Image, filter: Filter) -> None:
        self.image, self.filter, self.size = image, filter, image.size

    def resized_crop(self, box: Box, side: int, out: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
        if self.filter != "antialias":
            return resample(self.filter, np.asarray(self.image), (0, 0), self.size, box, side, out)
        crop = pillow_decoder.resample(self.image, box, side)
        if out is None:
            return crop
        out[:] = crop
        return out

    def prepare(self, box: Box, side: int) -> WriteCrop:
        return partial(self.resized_crop, box, side)

    def decode(self) -> NDArray[np.uint8]:
        return np.asarray(self.image)


class RawPicture:
    """Picture that is stored as its pixels, (height, width, 3) uint8."""

    def __init__(self, pixels: NDArray[np.uint8], filter: Filter) -> None:
        self.pixels, self.filter, self.size = pixels, filter, (pixels.shape[1], pixels.shape[0])

    def resized_crop(self, box: Box, side: int, out: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
        return resample(self.filter, self.pixels, (0, 0), self.size, box, side, out)

    def prepare(self, box: Box, side: int) -> WriteCrop:
        if self.filter == "antialias":
            return partial(self.resized_crop, box, side)
        return partial(write_part, self.pixels[window((0, 0), self.size, box)], self.filter == "area")

    def decode(self) -> NDArray[np.uint8]:
        return self.pixels


class JpegPicture:
    """JPEG that libjpeg-turbo decodes to RGB; simplejpeg decodes it no further than to the lower end of a box.

    Raises:
        BadSample: If the picture has more than `limit` pixels.
    """

    def __init__(self, record: Buffer, name: str, header: Header, decoder: Decoder, filter: Filter, limit: int) -> None:
        self.record, self.name, self.header = record, name, header
        self.decoder, self.filter, self.limit = decoder, filter, limit
        self.size = header.width, header.height
        pillow_decoder.check_pixel_limit(*self.size, name, limit)

    def resized_crop(self, box: Box, side: int, out: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
        shrink = jpeg_decoder.shrink_factor(self.decoder, box, side)
        last = ceil(box[3]) + _margin(self.filter, box, side, shrink)
        pixels = jpeg_decoder.decode_rows(self.decoder, self.record, self.header, last, shrink)
        if pixels is None:
            pixels = jpeg_decoder.decode(self.decoder, self.record, self.name, self.size, self.limit, shrink)
        return resample(self.filter, pixels, (0, 0), _shrunk_size(self.size, shrink), _shrunk_box(box, shrink), side, out)

    def prepare(self, box: Box, side: int) -> WriteCrop:
        return partial(self.resized_crop, box, side)

    def decode(self) -> NDArray[np.uint8]:
        return jpeg_decoder.decode(self.decoder, self.record, self.name, self.size, self.limit)


class TiledPicture:
    """Tiled JPEG, of which only the tiles under a box are decoded.

    Raises:
        BadSample: If its index is damaged, or the picture has more than `limit` pixels.
    """

    def __init__(self, record: Buffer, name: str, decoder: Decoder, filter: Filter, limit: int) -> None:
        self.record, self.name, self.decoder, self.filter, self.limit = record, name, decoder, filter, limit
        self.index = tiled_jpeg.read_index(record, name)
        self.size = self.index.width, self.index.height
        pillow_decoder.check_pixel_limit(*self.size, name, limit)

    def resized_crop(self, box: Box, side: int, out: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
        out = np.empty((side, side, 3), np.uint8) if out is None else out
        self.prepare(box, side)(out)
        return out

    def prepare(self, box: Box, side: int) -> WriteCrop:
        components = self.record[self.index.height_offset + 4]
        shrink = jpeg_decoder.shrink_factor(self.decoder, box, side) if components < 4 else 1
        margin = _margin(self.filter, box, side, shrink)
        jpeg, (left, top), size = tiled_jpeg.splice(self.record, self.index, box, margin, shrink)
        decode = partial(jpeg_decoder.decode, self.decoder, jpeg, self.name, size, self.limit, shrink, components)
        at, size, box = (left // shrink, top // shrink), _shrunk_size(self.size, shrink), _shrunk_box(box, shrink)
        if self.filter != "antialias":
            return partial(_write_window, decode, window(at, size, box), self.filter == "area")
        # a record is as wide as its tiles: what fills it up is no part of the picture, and the filter must not reach it
        width = -(-(self.index.width - left) // shrink)
        return lambda out: resample(self.filter, decode()[:, :width], at, size, box, side, out)

    def decode(self) -> NDArray[np.uint8]:
        return np.asarray(tiled_jpeg.decode(self.record, self.name, self.limit))


def _write_window(decode: Callable[[], NDArray[np.uint8]], part: tuple[slice, slice], area: bool, out: NDArray[np.uint8]) -> None:
    """Write a part of what `decode` returns into `out`, resampled by the filter area or linear."""
    write_part(decode()[part], area, out)


def _margin(filter: Filter, box: Box, side: int, shrink: int) -> int:
    """Return the pixels around a box that its crop depends on: the filter's reach and one, each in the decoded size.

    The decoder's upsampling of the colours reads that one.
    """
    return shrink * (1 + filter_margin(filter, _shrunk_box(box, shrink), side))


def _shrunk_size(size: tuple[int, int], shrink: int) -> tuple[int, int]:
    """Return the size of a picture that is decoded `shrink` times smaller."""
    return -(-size[0] // shrink), -(-size[1] // shrink)


def _shrunk_box(box: Box, shrink: int) -> Box:
    """Return a box as it lies in a picture that is decoded `shrink` times smaller."""
    return box if shrink == 1 else (box[0] / shrink, box[1] / shrink, box[2] / shrink, box[3] / shrink)
