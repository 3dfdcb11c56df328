"""Recipe of packing: how each picture is encoded, and how far it is shrunk."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, NamedTuple

from accel.data.codecs import tiled_jpeg
from accel.data.codecs.image_reader import decode_record, sniff
from accel.data.codecs.pillow_decoder import shrink
from accel.data.store import Record
from accel.data.stores.record_format import EncodedPicture
from accel.errors import ConfigError

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["ENCODERS", "Encoder", "EncoderInput", "Recipe", "encode_bmp", "encode_jpeg", "tile_or_keep"]


class EncoderInput(NamedTuple):
    """Picture to be encoded."""

    picture: Image
    """Decoded, in RGB, and shrunk."""
    record: Record
    """Record of the source."""
    name: str
    """Name for messages."""
    quality: int


@dataclass(frozen=True)
class Encoder:
    """Encoding that `--encoding` may name.

    Args:
        encode: Function that returns the bytes to be stored.
        exact: Whether every pixel is kept.
        shrinks: Whether the picture is encoded. An encoder that hands on the source's own bytes cannot shrink.
        stored: The store's `encoding`; empty for the encoder's own name, or the source's encoding if it hands on bytes.
    """

    encode: Callable[[EncoderInput], bytes]
    exact: bool = True
    shrinks: bool = True
    stored: str = ""


def encode_jpeg(item: EncoderInput) -> bytes:
    """Return a JPEG with colour at half the resolution (4:2:0)."""
    stream = BytesIO()
    item.picture.save(stream, "JPEG", quality=item.quality)
    return stream.getvalue()


def encode_bmp(item: EncoderInput) -> bytes:
    """Return a BMP of 24 bits, without compression."""
    stream = BytesIO()
    item.picture.save(stream, "BMP")
    return stream.getvalue()


def tile_or_keep(item: EncoderInput) -> bytes:
    """Return a JPEG in tiles, without changing a pixel; a picture that cannot be tiled so as it is: PNGs, progressive JPEGs.

    Raises:
        ConfigError: If the source holds pixels, of which no file is kept.
    """
    if sniff(item.record) == "raw":
        raise ConfigError(f"{item.name} is stored as pixels, and no JPEG; pack its source, or use --encoding tiled")
    try:
        return tiled_jpeg.from_jpeg(item.record, item.name)
    except ConfigError:  # it is sound, for it was decoded, and its pixels stay what they are
        return bytes(item.record)


ENCODERS: dict[str, Encoder] = {
    "original": Encoder(lambda item: bytes(item.record), shrinks=False),
    "jpeg": Encoder(encode_jpeg, exact=False),
    "raw": Encoder(lambda item: item.picture.tobytes()),
    "bmp": Encoder(encode_bmp),
    "tiled": Encoder(lambda item: tiled_jpeg.encode(item.picture, item.quality), exact=False),
    "tiled-lossless": Encoder(tile_or_keep, shrinks=False, stored="tiled"),
}
"""Encoders by the name of the encoding."""


@dataclass(frozen=True)
class Recipe:
    """Encoding and size of pictures. Its fields are written into journals of packing (`pack_journal`).

    Args:
        encoding: One of `ENCODERS`.
        short_side: Shrink a picture whose shorter side has more pixels to so many.
        max_side: Shrink a picture whose longer side has more pixels to so many.
        quality: From 1 to 95, of an encoding that is not exact; None for 90.

    Raises:
        ConfigError: If settings contradict each other.
    """

    encoding: str = "original"
    short_side: int | None = None
    max_side: int | None = None
    quality: int | None = None

    def __post_init__(self) -> None:
        encoder = ENCODERS[self.encoding]
        if self.short_side and self.max_side:
            raise ConfigError("--short-side and --max-side both say how far to shrink; keep one")
        if not encoder.shrinks and (self.short_side or self.max_side):
            flag = "--short-side" if self.short_side else "--max-side"
            raise ConfigError(
                f"{flag} needs pictures that are encoded anew, and --encoding is {self.encoding}; add --encoding jpeg"
            )
        if encoder.exact and self.quality is not None:
            raise ConfigError(f"--quality has no effect: --encoding {self.encoding} keeps every pixel; leave it out")

    @property
    def encoder(self) -> Encoder:
        """Encoder of the encoding."""
        return ENCODERS[self.encoding]

    @property
    def changed(self) -> str:
        """How pictures differ from the originals, in words; empty if no picture does. Written into stores."""
        side = self.short_side or self.max_side
        words = [f"shrunk to a {'shorter' if self.short_side else 'longer'} side of at most {side} pixels"] if side else []
        anew = f"encoded anew as {self.stored('').upper()} of quality {self.quality or 90}"
        return ", ".join(words + ([] if self.encoder.exact else [anew]))

    def stored(self, source: str) -> str:
        """Return the encoding of a store that is made from a source of the encoding `source`."""
        return self.encoder.stored or (self.encoding if self.encoder.shrinks else source)

    def apply(self, record: Record, name: str, encoding: str, label: int) -> EncodedPicture:
        """Return a picture as it is to be stored.

        Args:
            record: The source's record of the picture.
            name: Name for messages.
            encoding: The source's encoding.
            label: Number of its class.

        Raises:
            ConfigError: If the picture cannot be decoded to its last row.
        """
        picture = decode_record(record, name, encoding)
        width, height = picture.size
        side = self.short_side or self.max_side
        if side is not None:
            scale = side / (min(width, height) if self.short_side else max(width, height))
            if scale < 1:
                width, height = max(1, round(width * scale)), max(1, round(height * scale))
                picture = shrink(picture, width, height)
        content = self.encoder.encode(EncoderInput(picture, record, name, self.quality or 90))
        return EncodedPicture(label, height, width, content)
