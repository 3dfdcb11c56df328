"""From an encoded picture to the pixels of a box of it: who decodes, who resamples, and how little of it.

The decoders `pillow`, `opencv` and `simplejpeg` are all libjpeg-turbo, and give the same pixels; simplejpeg goes no further than
to the lower end of the box. `scaled` is simplejpeg that leaves out frequencies which a smaller picture cannot show. The filters
differ: `antialias` is Pillow's triangle, widened where it shrinks; `linear` and `area` are OpenCV's. What libjpeg-turbo cannot
make RGB of (other formats, CMYK, damaged files) is Pillow's, whatever the decoder.

What the faster ways cost: PSNR in dB against the original file by pillow and antialias, at 224 pixels, of n = 150 random resized
crops of 50 photographs (mean 469 x 404 pixels); the median, and what a tenth of the crops falls below.

| what | median | a tenth below |
|---|---|---|
| linear | 42.2 | 33.6 |
| area | 44.0 | 37.2 |
| scaled, antialias: these photographs are too small to gain, 148 of 150 are the same | same | same |
| tiled, quality 90 | 40.3 | 34.9 |
| tiled, quality 90, longer side 500 | 40.0 | 34.9 |
| raw, shorter side 256 | 36.4 | 30.4 |
| tiled or jpeg, quality 90, shorter side 256 | 34.1 | 28.8 |
| tiled-lossless | same | same |
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from math import ceil
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from accel.data.codecs import opencv_decoder, pillow_decoder, simplejpeg_decoder, tiled_jpeg
from accel.data.codecs.crops import Box
from accel.data.codecs.jpeg_header import Buffer, Header, ended, header, is_jpeg, top
from accel.data.codecs.resample import Filter, margin, resample
from accel.errors import ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image

__all__ = ["PLAIN", "Decoder", "Jpeg", "Picture", "Raw", "Reader", "Tiles", "Whole", "plain_jpeg", "shrunk", "smaller"]

Decoder = Literal["pillow", "opencv", "simplejpeg", "scaled"]


class Picture(Protocol):
    """A picture whose size is known, and whose pixels are decoded when a box of them is asked for."""

    size: tuple[int, int]

    def show(self, box: Box, side: int, out: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
        """The part inside `box` (left, top, right, bottom in pixels) as (side, side, 3) uint8.

        Args:
            box: inside the picture.
            side: of what comes out, in pixels.
            out: is filled and handed back, where given: (side, side, 3) uint8.

        Raises:
            BadSample: where that part cannot be decoded.
        """


@dataclass(frozen=True)
class Reader:
    """Opens pictures; any number of threads may use one.

    Args:
        decoder: who decodes JPEGs.
        filter: who resamples.
        limit: pixels that a picture may have; compared before any is decoded.
    """

    decoder: Decoder = "pillow"
    filter: Filter = "antialias"
    limit: int = field(default=pillow_decoder.PIXELS, repr=False)

    def check(self) -> None:
        """Raises ConfigError where a package is missing."""
        pillow_decoder.require_pillow()
        if self.by_opencv:
            opencv_decoder.opencv()
        if self.decoder in ("simplejpeg", "scaled"):
            simplejpeg_decoder.simplejpeg()

    @property
    def by_opencv(self) -> bool:
        """Whether OpenCV has a part in it."""
        return self.decoder == "opencv" or self.filter != "antialias"

    def describe(self) -> str:
        """Both in words."""
        return f"decoded by {self.decoder}, resampled by {self.filter}"

    def version(self) -> str:
        """Both, and the version of every package that may have a say: what the pixels of a picture are a function of."""
        found = []
        for package in ("pillow", "simplejpeg", "opencv-python-headless", "opencv-python"):
            with suppress(PackageNotFoundError):
                found.append(f"{package} {version(package)}")
        return f"{self}, at most {self.limit} pixels, {', '.join(found)}"

    def open(self, record: Buffer, name: str, encoding: str = "original") -> Picture:
        """A picture of a store.

        Args:
            record: a picture file, a record of tiles, or, of the encoding raw, a memoryview of shape (height, width, 3) of bytes.
            name: what to call it in messages.
            encoding: the store's. Any but raw is seen from the record itself, and so is raw by its shape.

        Raises:
            BadSample: where it cannot be read, or is above the limit.
        """
        if encoding == "raw" or getattr(record, "ndim", 1) == 3:
            return Raw(self, np.asarray(record))
        if tiled_jpeg.is_tiled(record):
            return Tiles(self, record, name)
        found = None if self.decoder == "pillow" else plain_jpeg(record, name)
        return Jpeg(self, record, name, found) if found else Whole(self, pillow_decoder.decode(record, name, self.limit))

    def whole(self, record: Buffer, name: str, encoding: str = "original") -> NDArray[np.uint8]:
        """All of a picture of a store as (height, width, 3) uint8, good until this thread's next picture. Raises as `open` does."""
        picture = self.open(record, name, encoding)
        if isinstance(picture, Raw):
            return picture.pixels
        if isinstance(picture, Jpeg):
            return self.pixels(record, name, picture.size)
        return np.asarray(picture.picture if isinstance(picture, Whole) else pillow_decoder.decode(record, name, self.limit))

    def pixels(self, jpeg: Buffer, name: str, size: tuple[int, int], shrink: int = 1, parts: int = 3) -> NDArray[np.uint8]:
        """A JPEG of `size` (width, height) in so many components as (height, width, 3) uint8, `shrink` times smaller."""
        found = None
        if parts == 4:  # CMYK has as many readings as readers
            pass
        elif self.decoder == "opencv":
            found = opencv_decoder.decode(jpeg, *size)
        elif self.decoder != "pillow":
            found = simplejpeg_decoder.decode(jpeg, *size, shrink)
        if found is None:
            whole = pillow_decoder.decode(jpeg, name, self.limit)
            found = np.asarray(whole.reduce(shrink) if shrink > 1 else whole)
        return found

    def mirror(self, pixels: NDArray[np.uint8]) -> None:
        """Mirrors (height, width, 3) uint8 left to right, where it lies."""
        if self.by_opencv and pixels.flags.c_contiguous:
            opencv_decoder.mirror(pixels)
        else:
            whole = pixels.view("V3")  # numpy moves three bytes at once faster than each of them
            whole[...] = whole[:, ::-1].copy()

    def shrink(self, box: Box, side: int) -> int:
        """By how much decoding may shrink: to no less than `side` pixels either way."""
        if self.decoder != "scaled":
            return 1
        least = min(box[2] - box[0], box[3] - box[1])
        return next(factor for factor in (8, 4, 2, 1) if factor == 1 or least >= factor * side)

    def margin(self, box: Box, side: int, shrink: int) -> int:
        """How many pixels around a box its picture depends on: what the filter reaches, and one, of each in the decoded size.

        That one is what the decoder's upsampling of the colours looks at.
        """
        return shrink * (1 + margin(self.filter, smaller(box, shrink), side))


PLAIN = Reader()
"""Pillow throughout."""


class Whole:
    """A picture that Pillow has decoded."""

    def __init__(self, reader: Reader, picture: Image) -> None:
        self.reader, self.picture, self.size = reader, picture, picture.size

    def show(self, box: Box, side: int, out: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
        if self.reader.filter != "antialias":
            return resample(self.reader.filter, np.asarray(self.picture), (0, 0), self.size, box, side, out)
        found = pillow_decoder.resample(self.picture, box, side)
        if out is None:
            return found
        out[:] = found
        return out


class Raw:
    """A picture that is stored as its pixels, (height, width, 3) uint8."""

    def __init__(self, reader: Reader, pixels: NDArray[np.uint8]) -> None:
        self.reader, self.pixels, self.size = reader, pixels, (pixels.shape[1], pixels.shape[0])

    def show(self, box: Box, side: int, out: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
        return resample(self.reader.filter, self.pixels, (0, 0), self.size, box, side, out)


class Jpeg:
    """A JPEG that libjpeg-turbo can decode to RGB: by simplejpeg no further than to the lower end of the box."""

    def __init__(self, reader: Reader, record: Buffer, name: str, header: Header) -> None:
        self.reader, self.record, self.name, self.header = reader, record, name, header
        self.size = header.width, header.height
        pillow_decoder.hold_limit(*self.size, name, reader.limit)

    def show(self, box: Box, side: int, out: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
        shrink, pixels = self.reader.shrink(box, side), None
        last = ceil(box[3]) + self.reader.margin(box, side, shrink)
        # rows end the work early only where they come one after another
        if last < self.size[1] and self.header.sequential and self.reader.decoder in ("simplejpeg", "scaled"):
            jpeg, rows = top(self.record, self.header, last)
            pixels = simplejpeg_decoder.decode(jpeg, self.size[0], rows, shrink, strict=False)
        if pixels is None:
            pixels = self.reader.pixels(self.record, self.name, self.size, shrink)
        return resample(self.reader.filter, pixels, (0, 0), shrunk(self.size, shrink), smaller(box, shrink), side, out)


class Tiles:
    """A record of tiles, of which only those under the box are decoded."""

    def __init__(self, reader: Reader, record: Buffer, name: str) -> None:
        self.reader, self.record, self.name = reader, record, name
        self.index = tiled_jpeg.index(record, name)
        self.size = self.index.width, self.index.height
        pillow_decoder.hold_limit(*self.size, name, reader.limit)

    def show(self, box: Box, side: int, out: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
        parts = self.record[self.index.frame + 4]
        shrink = self.reader.shrink(box, side) if parts < 4 else 1
        jpeg, (left, top), size = tiled_jpeg.splice(self.record, self.index, box, self.reader.margin(box, side, shrink), shrink)
        pixels = self.reader.pixels(jpeg, self.name, size, shrink, parts)
        # a record is as wide as its tiles: what fills it up is no part of the picture, and the filter must not reach it
        pixels = pixels[:, : -(-(self.index.width - left) // shrink)]
        at, size = (left // shrink, top // shrink), shrunk(self.size, shrink)
        return resample(self.reader.filter, pixels, at, size, smaller(box, shrink), side, out)


def plain_jpeg(record: Buffer, name: str) -> Header | None:
    """The header of a JPEG that libjpeg-turbo makes RGB of; None for all else, of which Pillow has the last word."""
    if not is_jpeg(record) or not ended(record):
        return None
    try:
        found = header(record, name)
    except ConfigError:
        return None
    return found if found.bits == 8 and found.process in (0xC0, 0xC1, 0xC2) and len(found.components) in (1, 3) else None


def shrunk(size: tuple[int, int], by: int) -> tuple[int, int]:
    """The size of a picture that is decoded `by` times smaller."""
    return -(-size[0] // by), -(-size[1] // by)


def smaller(box: Box, by: int) -> Box:
    """The box in a picture `by` times smaller."""
    return box if by == 1 else (box[0] / by, box[1] / by, box[2] / by, box[3] / by)
