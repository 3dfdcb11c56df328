"""Reader of pictures: which decoder, which filter, and how little of a picture is decoded.

The decoders `pillow`, `opencv` and `simplejpeg` are all libjpeg-turbo, and give the same pixels; simplejpeg goes no further than
to the lower end of the box. `scaled` is simplejpeg that leaves out frequencies which a smaller picture cannot show. The filters
differ: `antialias` is Pillow's triangle, widened where it shrinks; `linear` and `area` are OpenCV's. What libjpeg-turbo cannot
make RGB of (other formats, CMYK, damaged files) is Pillow's, whatever the decoder.

Cost of the faster ways: PSNR in dB against the original file by pillow and antialias, at 224 pixels, of n = 150 random resized
crops of 50 photographs (mean 469 x 404 pixels); the median, and the value that a tenth of the crops falls below.

| way | median | a tenth below |
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
from typing import TYPE_CHECKING, Literal

import numpy as np

from accel.data.codecs import opencv_decoder, pillow_decoder, simplejpeg_decoder, tiled_jpeg
from accel.data.codecs.jpeg_decoder import Decoder, rgb_jpeg_header
from accel.data.codecs.jpeg_header import Buffer
from accel.data.codecs.picture import DecodedPicture, JpegPicture, Picture, RawPicture, TiledPicture
from accel.data.codecs.resample import Filter

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image

__all__ = ["PILLOW_READER", "Format", "ImageReader", "decode_record", "sniff"]

Format = Literal["raw", "tiled", "file"]
"""raw: pixels; tiled: a tiled JPEG; file: a picture file of any format."""


@dataclass(frozen=True)
class ImageReader:
    """Reader of pictures, which any number of threads may use.

    Args:
        decoder: Decoder of JPEGs.
        filter: Filter that resamples.
        limit: Pixels that a picture may have, checked before any is decoded.
    """

    decoder: Decoder = "pillow"
    filter: Filter = "antialias"
    limit: int = field(default=pillow_decoder.MAX_PIXELS, repr=False)

    def check(self) -> None:
        """Raise ConfigError if a package is missing."""
        pillow_decoder.require_pillow()
        if self.uses_opencv:
            opencv_decoder.opencv()
        if self.decoder in ("simplejpeg", "scaled"):
            simplejpeg_decoder.simplejpeg()

    @property
    def uses_opencv(self) -> bool:
        """Whether OpenCV decodes or resamples."""
        return self.decoder == "opencv" or self.filter != "antialias"

    def describe(self) -> str:
        """Return decoder and filter in words."""
        return f"decoded by {self.decoder}, resampled by {self.filter}"

    def version(self) -> str:
        """Return everything that the pixels of a picture depend on: settings, and versions of packages.

        The text is hashed into the names of caches, so that it must stay as it is, the word Reader too.
        """
        packages = []
        for package in ("pillow", "simplejpeg", "opencv-python-headless", "opencv-python"):
            with suppress(PackageNotFoundError):
                packages.append(f"{package} {version(package)}")
        settings = f"Reader(decoder={self.decoder!r}, filter={self.filter!r})"
        return f"{settings}, at most {self.limit} pixels, {', '.join(packages)}"

    def open(self, record: Buffer, name: str, encoding: str = "original") -> Picture:
        """Return a picture of a store, undecoded if its format allows.

        Args:
            record: Picture file, tiled JPEG, or, of the encoding raw, a memoryview of shape (height, width, 3) of bytes.
            name: Name for messages.
            encoding: The store's. Only raw matters; other encodings, and raw by its shape, are seen from the record itself.

        Raises:
            BadSample: If the picture cannot be read, or is above the limit.
        """
        format = sniff(record, encoding)
        if format == "raw":
            return RawPicture(np.asarray(record), self.filter)
        if format == "tiled":
            return TiledPicture(record, name, self.decoder, self.filter, self.limit)
        header = None if self.decoder == "pillow" else rgb_jpeg_header(record, name)
        if header is not None:
            return JpegPicture(record, name, header, self.decoder, self.filter, self.limit)
        return DecodedPicture(pillow_decoder.decode(record, name, self.limit), self.filter)

    def mirror(self, pixels: NDArray[np.uint8]) -> None:
        """Mirror (height, width, 3) uint8 left to right, in place."""
        if self.uses_opencv and pixels.flags.c_contiguous:
            opencv_decoder.mirror(pixels)
        else:
            whole = pixels.view("V3")  # numpy moves three bytes at once faster than each of them
            whole[...] = whole[:, ::-1].copy()


PILLOW_READER = ImageReader()
"""Reader that decodes and resamples by Pillow."""


def sniff(record: Buffer, encoding: str = "original") -> Format:
    """Return the format of a store's record, from its encoding, its shape and its first bytes."""
    if encoding == "raw" or getattr(record, "ndim", 1) == 3:
        return "raw"
    return "tiled" if tiled_jpeg.is_tiled(record) else "file"


def decode_record(record: Buffer, name: str, encoding: str = "original", limit: int = pillow_decoder.MAX_PIXELS) -> Image:
    """Return the whole picture of a store's record in RGB, by Pillow.

    Arguments are those of `ImageReader.open`, errors too.
    """
    match sniff(record, encoding):
        case "raw":
            return pillow_decoder.from_pixels(np.asarray(record))
        case "tiled":
            return tiled_jpeg.decode(record, name, limit)
        case _:
            return pillow_decoder.decode(record, name, limit)
