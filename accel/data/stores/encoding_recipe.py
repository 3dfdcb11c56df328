"""What becomes of a picture when it is packed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, NamedTuple

from accel.data.codecs import tiled_jpeg
from accel.data.codecs.pillow_decoder import decoded, smaller
from accel.data.store import Record
from accel.data.stores.record_format import Content
from accel.errors import ConfigError

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["ENCODERS", "Encoder", "Given", "Recipe", "bmp", "jpeg"]


class Given(NamedTuple):
    """What an encoder has to work with."""

    picture: Image
    """Decoded, in RGB, and shrunk."""
    record: Record
    """As it was in the source."""
    name: str
    """What to call it in a message."""
    quality: int


@dataclass(frozen=True)
class Encoder:
    """One encoding of `--encoding`."""

    encode: Callable[[Given], bytes]
    exact: bool = True
    """Whether every pixel is kept."""
    shrinks: bool = True
    """Whether it encodes the picture; one that hands on the source's own bytes cannot shrink."""
    stored: str = ""
    """The `encoding` of the store, where it has another name; of one that hands on bytes, that of the source."""


def jpeg(given: Given) -> bytes:
    """JPEG with colour at half the resolution (4:2:0)."""
    stream = BytesIO()
    given.picture.save(stream, "JPEG", quality=given.quality)
    return stream.getvalue()


def bmp(given: Given) -> bytes:
    """BMP of 24 bits, without compression."""
    stream = BytesIO()
    given.picture.save(stream, "BMP")
    return stream.getvalue()


ENCODERS: dict[str, Encoder] = {
    "original": Encoder(lambda given: bytes(given.record), shrinks=False),
    "jpeg": Encoder(jpeg, exact=False),
    "raw": Encoder(lambda given: given.picture.tobytes()),
    "bmp": Encoder(bmp),
    "tiled": Encoder(lambda given: tiled_jpeg.encode(given.picture, given.quality), exact=False),
    "tiled-lossless": Encoder(lambda given: tiled_jpeg.lossless(given.record, given.name), shrinks=False, stored="tiled"),
}
"""By the name of the encoding."""


@dataclass(frozen=True)
class Recipe:
    """How pictures are encoded, and how large they may be.

    Args:
        encoding: one of `ENCODERS`.
        short_side: shrink a picture whose shorter side has more pixels to so many.
        max_side: shrink a picture whose longer side has more pixels to so many.
        quality: from 1 to 95, of an encoding that is not exact; None for 90.

    Raises:
        ConfigError: for a combination that cannot work.
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
        """That of the encoding."""
        return ENCODERS[self.encoding]

    @property
    def changed(self) -> str:
        """How pictures differ from the originals, in words; empty where none does."""
        side = self.short_side or self.max_side
        words = [f"shrunk to a {'shorter' if self.short_side else 'longer'} side of at most {side} pixels"] if side else []
        anew = f"encoded anew as {self.stored('').upper()} of quality {self.quality or 90}"
        return ", ".join(words + ([] if self.encoder.exact else [anew]))

    def stored(self, source: str) -> str:
        """The encoding of a store that is made by it from a source of the encoding `source`."""
        return self.encoder.stored or (self.encoding if self.encoder.shrinks else source)

    def apply(self, record: Record, name: str, encoding: str, label: int) -> Content:
        """A picture as it is to be stored.

        Args:
            record: the picture, encoded as `encoding` says.
            name: what to call it in a message.

        Raises:
            ConfigError: where it cannot be decoded to its last row.
        """
        picture = decoded(record, name, encoding)
        width, height = picture.size
        side = self.short_side or self.max_side
        if side is not None:
            scale = side / (min(width, height) if self.short_side else max(width, height))
            if scale < 1:
                width, height = max(1, round(width * scale)), max(1, round(height * scale))
                picture = smaller(picture, width, height)
        content = self.encoder.encode(Given(picture, record, name, self.quality or 90))
        return Content(label, height, width, content)
