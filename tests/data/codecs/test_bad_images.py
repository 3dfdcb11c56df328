"""Files that are no sound JPEG: each is what Pillow shows of it, or a BadSample with its name, whoever was asked to decode."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from accel.data.codecs import opencv_decoder, tiled_jpeg
from accel.data.codecs.image_reader import ImageReader
from accel.data.codecs.pillow_decoder import decode
from accel.data.datasets.image_folder import Folder
from accel.errors import BadSample, ConfigError, TrainingError
from tests.support.drawn_images import drawing, drawn, jpeg

DECODERS = ["pillow", "opencv", "simplejpeg", "scaled"]
BY_ALL = pytest.mark.parametrize("decoder", DECODERS)


def encoded(picture: Image.Image, kind: str, **more: Any) -> bytes:
    stream = BytesIO()
    picture.save(stream, kind, **more)
    return stream.getvalue()


DRAWN = drawing(80, 60)
JPEG, PNG = drawn(80, 60), encoded(DRAWN, "PNG")
THUMBNAIL = JPEG[:2] + b"\xff\xe1" + (len(JPEG) + 2).to_bytes(2, "big") + JPEG + JPEG[2:]
"""With a whole JPEG in its APP1 segment, whose end is not that of the picture."""
DEEP = Image.fromarray((np.arange(80 * 60, dtype=np.uint16) * 13).reshape(60, 80))

SOUND = {
    "png called jpg": PNG,
    "webp": encoded(DRAWN, "WEBP"),
    "gif": encoded(DRAWN, "GIF"),
    "bmp": encoded(DRAWN, "BMP"),
    "tiff": encoded(DRAWN, "TIFF"),
    "cmyk": jpeg(DRAWN.convert("CMYK"), "4:4:4"),
    "16 bits": encoded(DEEP, "PNG"),
    "grey": drawn(80, 60, "grey"),
    "grey and alpha": encoded(DRAWN.convert("LA"), "PNG"),
    "palette": encoded(DRAWN.quantize(200), "PNG"),
    "palette and alpha": encoded(DRAWN.convert("RGBA").quantize(200), "PNG"),
    "alpha": encoded(DRAWN.convert("RGBA"), "PNG"),
    "one bit": encoded(DRAWN.convert("1"), "PNG"),
    "progressive": drawn(80, 60, progressive=True),
    "with a thumbnail": THUMBNAIL,
    "something behind it": JPEG + bytes(200),
}
BAD = {
    "empty": b"",
    "one byte": b"\xff",
    "text": b"hello, world\n" * 9,
    "html": b"<html><body>404</body></html>",
    "a program for another program": encoded(DRAWN, "EPS"),
    "half": JPEG[: len(JPEG) // 2],
    "half, filled up with zeros": JPEG[: len(JPEG) // 2].ljust(len(JPEG), b"\0"),
    "half, with a thumbnail": THUMBNAIL[: -len(JPEG) // 2].ljust(len(THUMBNAIL), b"\0"),
    "without its end": JPEG[:-2],
    "header alone": JPEG[:300],
    "png, half": PNG[: len(PNG) // 2],
    "png, one bit flipped": PNG[:3000] + bytes([PNG[3000] ^ 4]) + PNG[3001:],
    "bmp, half": SOUND["bmp"][: len(SOUND["bmp"]) // 2],
    "webp, half": SOUND["webp"][:500],
    "gif, half": SOUND["gif"][:1500],
    "progressive, half": SOUND["progressive"][:1500],
    "tiles, half": tiled_jpeg.encode(DRAWN)[:2000],
}


@BY_ALL
@pytest.mark.parametrize("kind", SOUND)
def test_what_pillow_reads_is_shown_the_same(decoder: Any, kind: str) -> None:
    wanted = ImageReader().open(SOUND[kind], "x").resized_crop((1, 2, 19, 20), 16)
    assert np.array_equal(ImageReader(decoder).open(SOUND[kind], "x").resized_crop((1, 2, 19, 20), 16), wanted)
    grey = {"16 bits": DEEP, "one bit": DRAWN.convert("1"), "grey": DRAWN.convert("L"), "grey and alpha": DRAWN.convert("L")}
    whole = np.asarray(grey.get(kind, DRAWN).convert("RGB") if kind != "16 bits" else np.asarray(DEEP)[..., None] >> 8, float)
    assert np.abs(np.asarray(decode(SOUND[kind], "x"), float) - whole).mean() < 25, "and it is that picture"


@BY_ALL
@pytest.mark.parametrize("kind", BAD)
def test_what_is_damaged_is_named(decoder: Any, kind: str) -> None:
    with pytest.raises(BadSample, match=r"cannot read the picture a/b.jpg: .*; (mend the file or take it away|pack it again)"):
        ImageReader(decoder).open(BAD[kind], "a/b.jpg").resized_crop((0, 0, 80, 60), 16)


@BY_ALL
def test_bytes_changed_anywhere_raise_nothing_else(decoder: Any) -> None:
    rng = np.random.default_rng(5)
    raised = 0
    for record in (JPEG, SOUND["progressive"], PNG, SOUND["bmp"], SOUND["webp"], SOUND["gif"], tiled_jpeg.encode(DRAWN)):
        for _ in range(25):
            damaged = bytearray(record)
            for _ in range(3):
                damaged[int(rng.integers(min(len(record), 600)))] = int(rng.integers(256))
            try:
                picture = ImageReader(decoder, limit=10**6).open(bytes(damaged), "x")
                shown = picture.resized_crop((0, 0, *picture.size), 16)
            except BadSample:
                raised += 1
            else:
                assert shown.shape == (16, 16, 3)
    assert 20 < raised < 175


def test_opencv_that_finds_another_size_is_not_believed() -> None:
    assert opencv_decoder.decode(JPEG, 80, 60) is not None
    assert opencv_decoder.decode(JPEG, 80, 61) is None


@BY_ALL
def test_a_limit_is_held_before_anything_is_decoded(decoder: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the file has no more than a header."""
    records = (JPEG, JPEG[:700] + b"\xff\xd9", PNG, SOUND["bmp"], tiled_jpeg.encode(DRAWN))
    monkeypatch.setattr(opencv_decoder, "decode", lambda *_: pytest.fail("it was decoded"))
    monkeypatch.setattr(Image.Image, "load", lambda *_: pytest.fail("it was decoded"))
    for record in records:
        with pytest.raises(BadSample, match=r"the picture a/b has 80 x 60 pixels, above the limit of 4,799"):
            ImageReader(decoder, limit=80 * 60 - 1).open(record, "a/b")


def test_a_file_that_is_gone_is_bad_and_a_lack_of_descriptors_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "0.jpg").write_bytes(JPEG)
    (tmp_path / "cat" / "1.jpg").symlink_to("nowhere")
    folder = Folder(tmp_path, ["cat"], 16)
    with pytest.raises(BadSample, match=r"cannot read the picture .*cat/1.jpg: No such file"):
        folder[1]

    def too_many(*_: Any, **__: Any) -> Any:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr("accel.data.file_access.os.open", too_many)
    with pytest.raises(TrainingError, match=r"cannot read the picture .*cat/0.jpg: Too many open files"):
        folder[0]
    assert not issubclass(TrainingError, ConfigError)
