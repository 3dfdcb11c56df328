"""Pictures of the kinds that public data sets hold: the same pixels by every decoder, in every store, under any name."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from accel import __main__
from accel.data.codecs.image_reader import ImageReader, decode_record
from accel.data.codecs.pillow_decoder import decode
from accel.data.datasets.image_folder import Folder
from accel.data.store import Files
from accel.data.stores.encoding_recipe import Recipe
from accel.data.stores.formats import store_at
from accel.data.stores.packing import Packing
from accel.errors import BadSample, ConfigError
from tests.support.public_pictures import BAD, DEEP, DRAWN, SOUND, TRANSPOSED, encoded, turned

DECODERS: Any = ["pillow", "opencv", "simplejpeg", "scaled"]
PRECISE = {"png of 16 bits", "tiff of 16 bits", "big-endian tiff of 16 bits", "pgm of 16 bits"}
EXACT = {
    *("alpha", "webp and alpha", "moving webp", "moving png", "tiff lzw", "pages", "bmp and alpha", "webp turned", "png turned 6"),
    *("rgb and one transparent colour", "jpeg 2000"),
}


@pytest.fixture
def readers() -> list[ImageReader]:
    pytest.importorskip("cv2", reason="needs the extra opencv")
    pytest.importorskip("simplejpeg", reason="needs the extra simplejpeg")
    return [ImageReader(decoder) for decoder in DECODERS]


@pytest.mark.parametrize("kind", SOUND)
def test_every_decoder_shows_the_same_pixels(kind: str, readers: list[ImageReader]) -> None:
    whole = np.asarray(decode(SOUND[kind], "x"))
    side = min(whole.shape[:2])
    for reader in readers:
        picture = reader.open(SOUND[kind], "x")
        assert picture.size == whole.shape[1::-1]
        assert np.array_equal(picture.decode(), whole), reader
        plain = ImageReader().open(SOUND[kind], "x").resized_crop((0, 0, side, side), 8)
        again = reader.open(SOUND[kind], "x").resized_crop((0, 0, side, side), 8)
        assert np.abs(again.astype(int) - plain).mean() <= (0 if reader.decoder != "scaled" else 12), reader


@pytest.mark.parametrize("kind", SOUND)
def test_it_is_the_picture_that_was_drawn(kind: str) -> None:
    shown, drawn = np.asarray(decode(SOUND[kind], "x"), int), np.asarray(DRAWN, int)
    if kind in EXACT:
        assert np.array_equal(shown, drawn)
    elif kind in PRECISE:
        assert np.array_equal(shown, np.repeat(DEEP[..., None] >> 8, 3, 2))
    elif kind == "colour png of 16 bits":
        assert np.array_equal(shown, np.stack([DEEP >> 8, DEEP[:, ::-1] >> 8, DEEP // 2 >> 8], -1))
    elif kind in ("one bit", "fax"):
        assert set(np.unique(shown)) == {0, 255}
    elif shown.shape == drawn.shape and kind not in ("ycck", "cmyk of others"):  # whose inks are the other way round
        grey = drawn.mean(2, keepdims=True) if "grey" in kind else drawn
        assert np.abs(shown - grey).mean() < 25


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_turns_no_picture_and_the_tag_of_a_tiff_does(orientation: int, readers: list[ImageReader]) -> None:
    upright = np.asarray(decode(SOUND["turned 1"], "x"))
    assert np.array_equal(np.asarray(decode(SOUND[f"turned {orientation}"], "x")), upright)
    tiff = encoded(DRAWN, "TIFF", exif=turned(orientation))
    wanted = DRAWN.transpose(TRANSPOSED[orientation]) if orientation > 1 else DRAWN
    assert np.array_equal(np.asarray(decode(tiff, "x")), np.asarray(wanted))
    assert all(reader.open(tiff, "x").size == wanted.size for reader in readers)


@pytest.mark.parametrize("kind", BAD)
def test_what_nobody_can_show_is_a_bad_sample(kind: str, readers: list[ImageReader]) -> None:
    for reader in readers:
        with pytest.raises(BadSample, match=r"cannot read the picture a/b.jpg|a/b.jpg has"):
            reader.open(BAD[kind], "a/b.jpg").decode()


def write(folder: Path, kinds: dict[str, bytes]) -> Files:
    """Every kind under the name of a JPEG, as data sets have them."""
    (folder / "a").mkdir(parents=True)
    for kind, content in kinds.items():
        (folder / "a" / f"{kind}.JPEG").write_bytes(content)
    return Files(folder, ["a"])


@pytest.mark.parametrize(
    ("format", "encoding"), [("raw", "raw"), ("lmdb", "original"), ("lmdb", "bmp"), ("lmdb", "tiled-lossless")]
)
def test_packing_keeps_every_pixel_of_every_kind(tmp_path: Path, format: str, encoding: str, readers: list[ImageReader]) -> None:
    if format == "lmdb":
        pytest.importorskip("lmdb", reason="needs the extra lmdb")
    files = write(tmp_path / "set", SOUND)
    packing = Packing(files, tmp_path / f"x.{format}", Recipe(encoding))
    packing.run()
    store = store_at(tmp_path / f"x.{format}")
    assert len(store) == len(SOUND)
    for number in range(len(store)):
        whole = np.asarray(decode(files.get(number), "x"))
        assert np.array_equal(np.asarray(decode_record(store.get(number), "x", store.encoding)), whole), store.key(number)
        for reader in readers[1:3]:
            crop = reader.open(store.get(number), "x", store.encoding).resized_crop((0, 0, 1, 1), 1)
            assert np.array_equal(crop[0, 0], whole[0, 0]) or min(whole.shape[:2]) == 1
    if encoding == "tiled-lossless":
        counts = {reason: count for reason, (count, _) in packing.kept_as_is.counts.items()}
        assert counts.pop("JPEGs that are not of one sequential scan") == 2
        assert counts.keys() == {"no JPEGs"}
        assert counts["no JPEGs"] == sum(content[:2] != b"\xff\xd8" for content in SOUND.values())


@pytest.mark.parametrize("encoding", ["jpeg", "tiled"])
def test_packing_anew_takes_every_kind(tmp_path: Path, encoding: str) -> None:
    pytest.importorskip("lmdb", reason="needs the extra lmdb")
    files = write(tmp_path / "set", SOUND)
    Packing(files, tmp_path / "x.lmdb", Recipe(encoding, quality=95)).run()
    store = store_at(tmp_path / "x.lmdb")
    for number in range(len(store)):
        shown = np.asarray(decode_record(store.get(number), "x", store.encoding), float)
        assert np.abs(shown - np.asarray(decode(files.get(number), "x"), float)).mean() < 20, store.key(number)


def test_a_png_called_jpeg_does_not_end_packing_and_is_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("lmdb", reason="needs the extra lmdb")
    write(tmp_path / "set" / "train", {"a": SOUND["mpo"], "b": SOUND["alpha"], "c": SOUND["progressive"], "d": SOUND["moving gif"]})
    words = ["pack", str(tmp_path / "set"), str(tmp_path), "--encoding", "tiled-lossless", "--workers", "1"]
    assert __main__.main(words) == 0
    assert "kept as they are in train.lmdb: 2 no JPEGs (a/b.JPEG), 1 JPEGs that are not of" in capsys.readouterr().out
    data = Folder(tmp_path / "set" / "train", ["a"], 8)
    packed = data.over(store_at(tmp_path / "train.lmdb"))
    assert all(np.array_equal(data[number][0], packed[number][0]) for number in range(4))


def test_pixels_cannot_be_tiled_without_loss(tmp_path: Path) -> None:
    Packing(write(tmp_path / "set", {"a": SOUND["alpha"]}), tmp_path / "x.raw", Recipe("raw")).run()
    with pytest.raises(ConfigError, match=r"is stored as pixels, and no JPEG; pack its source, or use --encoding tiled"):
        Packing(store_at(tmp_path / "x.raw"), tmp_path / "x.lmdb", Recipe("tiled-lossless")).run()


def test_kinds_of_jpeg_are_what_they_are_called() -> None:
    assert {kind: Image.open(BytesIO(SOUND[kind])).mode for kind in ("cmyk of adobe", "ycck", "cmyk of others")} == {
        "cmyk of adobe": "CMYK", "ycck": "CMYK", "cmyk of others": "CMYK",
    }  # fmt: skip
    assert Image.open(BytesIO(SOUND["mpo"])).format == "MPO"
