from __future__ import annotations

import cv2
import numpy as np
import pytest
import simplejpeg
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from accel.data.codecs import tiled_jpeg
from accel.data.codecs.jpeg_header import parse_header
from accel.errors import ConfigError
from tests.support.drawn_images import SAMPLINGS, drawing, drawn, jpeg, pixels


def by_opencv(data: bytes | bytearray) -> NDArray[np.uint8]:
    return np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB), np.uint8)


def by_simplejpeg(data: bytes | bytearray) -> NDArray[np.uint8]:
    return np.asarray(simplejpeg.decode_jpeg(data, "RGB"), np.uint8)


DECODERS = {"pillow": pixels, "opencv": by_opencv, "simplejpeg": by_simplejpeg}


def record(width: int, height: int, sampling: str, lossless: bool, tile: int = 16) -> bytes:
    picture = drawing(width, height, sampling == "grey")
    if lossless:
        return tiled_jpeg.from_jpeg(jpeg(picture, sampling), "x", tile)
    return tiled_jpeg.encode(picture, 85, tile, "4:2:0" if sampling == "grey" else sampling)


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("lossless", [False, True])
def test_every_crop_is_the_crop_of_the_whole_picture(decoder: str, sampling: str, lossless: bool) -> None:
    """Every alignment of every edge to blocks and tiles, in a picture of odd size."""
    decode, width, height = DECODERS[decoder], 69, 43
    stored = record(width, height, sampling, lossless)
    whole, index = decode(stored), tiled_jpeg.read_index(stored, "x")
    assert (index.width, index.height) == (width, height)
    lefts, tops = range(0, width, 1 if decoder == "simplejpeg" else 5), range(0, height, 3)
    for left, top in [*((left, (left * 7) % height) for left in lefts), *(((top * 11) % width, top) for top in tops)]:
        for right in {left + 1, (left + width + 1) // 2, width}:
            for bottom in {top + 1, (top + height + 1) // 2, height}:
                small, (x, y), size = tiled_jpeg.splice(stored, index, (left, top, right, bottom))
                part = decode(small)
                assert (part.shape[1], part.shape[0]) == size
                assert np.array_equal(part[top - y : bottom - y, left - x : right - x], whole[top:bottom, left:right])


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_the_last_column_of_tiles_may_be_a_sliver(sampling: str) -> None:
    """libjpeg interpolates no colours in a picture of up to four pixels, so that such a tile must not stand alone."""
    for width in range(33, 42):
        stored = record(width, 20, sampling, lossless=True)
        small, (x, y), _ = tiled_jpeg.splice(stored, tiled_jpeg.read_index(stored, "x"), (width - 1, 5, width, 15))
        assert np.array_equal(pixels(small)[5 - y : 15 - y, width - 1 - x : width - x], pixels(stored)[5:15, width - 1 :])


@settings(max_examples=60)
@given(st.data())
def test_crops_of_any_size_of_picture(data: st.DataObject) -> None:
    width, height = data.draw(st.integers(1, 90)), data.draw(st.integers(1, 90))
    sampling, lossless, tile = data.draw(st.sampled_from(SAMPLINGS)), data.draw(st.booleans()), data.draw(st.sampled_from([16, 48]))
    stored = record(width, height, sampling, lossless, tile)
    left, top = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    right, bottom = data.draw(st.integers(left + 1, width)), data.draw(st.integers(top + 1, height))
    small, (x, y), _ = tiled_jpeg.splice(stored, tiled_jpeg.read_index(stored, "x"), (left, top, right, bottom))
    whole, part = by_simplejpeg(stored), by_simplejpeg(small)
    assert np.array_equal(part[top - y : bottom - y, left - x : right - x], whole[top:bottom, left:right])


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_a_crop_touches_the_tiles_under_it_alone(sampling: str) -> None:
    stored = record(200, 200, sampling, lossless=False)
    index = tiled_jpeg.read_index(stored, "x")
    small, _, size = tiled_jpeg.splice(stored, index, (100, 100, 101, 101))
    assert size[0] <= 48
    assert size[1] <= 48
    assert len(small) - index.scan_offset < (len(stored) - index.scan_offset) / 10


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_without_margin_the_colours_at_the_border_would_be_others(sampling: str) -> None:
    """Why there is a margin: with 4:2:0 and 4:2:2 the decoder looks one pixel further."""
    stored = record(64, 64, sampling, lossless=True)
    whole, index = pixels(stored), tiled_jpeg.read_index(stored, "x")
    small, (x, y), _ = tiled_jpeg.splice(stored, index, (16, 16, 48, 48), margin=0)
    same = np.array_equal(pixels(small)[16 - y : 48 - y, 16 - x : 48 - x], whole[16:48, 16:48])
    assert same == (sampling in ("4:4:4", "grey"))


@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("optimize", [False, True])
def test_lossless_changes_no_pixel(sampling: str, optimize: bool) -> None:
    """Also where the file's own Huffman tables lack codes for what begins an interval."""
    for width, height in ((1, 1), (69, 43), (16, 160), (160, 16), (128, 64)):
        original = drawn(width, height, sampling, optimize=optimize)
        stored = tiled_jpeg.from_jpeg(original, "x", 32)
        assert np.array_equal(pixels(stored), pixels(original))
        assert tiled_jpeg.is_tiled(stored)
        assert not tiled_jpeg.is_tiled(original)


def test_lossless_extends_a_table_that_lacks_a_value() -> None:
    """One flat bright square: no difference between blocks is as large as the value itself."""
    picture = Image.new("L", (64, 64), 128)
    picture.putpixel((0, 0), 131)
    dark = Image.new("L", (64, 64), 20)
    for flat in (picture, dark):
        original = jpeg(flat, "grey", optimize=True)
        assert np.array_equal(pixels(tiled_jpeg.from_jpeg(original, "x", 16)), pixels(original))


def test_lossless_keeps_restart_markers_that_fit_and_exif_does_not_matter() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned; nobody here turns it
    for blocks in (2, 4, 8):
        original = drawn(128, 64, restart_marker_blocks=blocks, exif=exif)
        stored = tiled_jpeg.from_jpeg(original, "x", 64)
        assert np.array_equal(pixels(stored), pixels(original))
        assert b"Exif" not in stored


def test_adobe_colours_stay() -> None:
    """The APP14 segment says that three components are RGB, or how four are stored: without it the colours are others."""
    for mode in ("RGB", "CMYK"):
        more = {"keep_rgb": True} if mode == "RGB" else {}
        original = jpeg(drawing(50, 40).convert(mode), "4:4:4", **more)
        stored = tiled_jpeg.from_jpeg(original, "x", 16)
        assert np.array_equal(pixels(stored), pixels(original))


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_encoding_is_the_jpeg_of_the_same_quality(sampling: str) -> None:
    """Where the width is one of whole tiles, tiles change nothing."""
    picture = drawing(64, 43, sampling == "grey")
    stored = tiled_jpeg.encode(picture, 85, 32, "4:2:0" if sampling == "grey" else sampling)
    assert np.array_equal(pixels(stored), pixels(jpeg(picture, sampling)))


def test_what_fills_up_the_last_tile_is_the_last_column() -> None:
    stored = tiled_jpeg.encode(drawing(33, 20), 95, 32)
    assert parse_header(stored, "x").width == 64
    assert tiled_jpeg.read_index(stored, "x").width == 33
    assert np.abs(pixels(stored)[:, 40:].astype(int) - pixels(stored)[:, 39:40]).max() < 40


def test_a_large_picture_gets_wider_tiles_where_the_index_would_not_fit() -> None:
    stored = tiled_jpeg.encode(Image.new("L", (2048, 2000)), 50, 16)
    assert tiled_jpeg.read_index(stored, "x").tile == (32, 8)
    original = jpeg(Image.new("L", (2048, 2000)), "grey")
    assert tiled_jpeg.read_index(tiled_jpeg.from_jpeg(original, "x", 16), "x").tile == (32, 8)


@pytest.mark.parametrize(("sampling", "high"), [("grey", 8), ("4:4:4", 8), ("4:2:2", 8), ("4:2:0", 16)])
def test_tiles_get_wider_as_soon_as_their_number_is_the_largest(sampling: str, high: int, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = drawing(64, 9 * high, sampling == "grey")
    for most, wide in ((37, 16), (36, 32), (18, 64)):  # 4 tiles of 16 pixels in each of 9 rows, and fewer than `most` fit
        monkeypatch.setattr(tiled_jpeg, "MAX_OFFSETS", most)
        stored = tiled_jpeg.encode(picture, 85, 16, "4:2:0" if sampling == "grey" else sampling)
        assert tiled_jpeg.read_index(stored, "x").tile == (wide, high)


def test_extended_sequential_jpegs_of_8_bits_are_tiled_too() -> None:
    original = jpeg(drawing(40, 40), "4:2:0")
    extended = original.replace(b"\xff\xc0", b"\xff\xc1", 1)
    assert (pixels(tiled_jpeg.from_jpeg(extended, "x", 16)) == pixels(original)).all()


@pytest.mark.parametrize("mode", ["P", "RGBA", "1", "CMYK"])
def test_other_modes_are_encoded_as_rgb(mode: str) -> None:
    stored = tiled_jpeg.encode(drawing(40, 40).convert(mode), 85)
    assert len(parse_header(stored, "x").components) == 3


def test_progressive_is_refused_by_name_and_mended_by_encoding() -> None:
    coded = drawn(40, 40, progressive=True)
    with pytest.raises(
        ConfigError, match=r"the JPEG a/b.jpg is progressive, which cannot be tiled as it is: jpegtran .* encoding=tiled"
    ):
        tiled_jpeg.from_jpeg(coded, "a/b.jpg")


def test_restart_markers_that_cross_rows_are_refused() -> None:
    odd = drawn(80, 64, restart_marker_blocks=3)
    stored = tiled_jpeg.from_jpeg(odd, "x", 64)  # one MCU divides three
    assert np.array_equal(pixels(stored), pixels(odd))
    with pytest.raises(ConfigError, match="cross its rows"):
        tiled_jpeg.add_index(odd, 80, "x")


def test_damaged_files_are_a_sentence() -> None:
    coded = drawn(64, 64)
    for size in range(0, len(coded), 7):
        with pytest.raises(ConfigError, match=r"a/b.jpg"):
            tiled_jpeg.from_jpeg(coded[:size], "a/b.jpg")
    start = parse_header(coded, "x").scan_offset
    emptied = coded[: start + 40] + b"\xff\xd9"
    with pytest.raises(ConfigError, match=r"coded data are (truncated|damaged)"):
        tiled_jpeg.from_jpeg(emptied, "x")


def test_a_damaged_record_is_a_sentence() -> None:
    stored = record(64, 64, "4:2:0", lossless=False)
    size = tiled_jpeg.read_index(stored, "x").scan_offset
    for cut in [*range(tiled_jpeg.FIELDS_OFFSET, size, 3), *range(size, len(stored))]:
        with pytest.raises(ConfigError, match=r"cannot read the picture a/b: its index"):
            tiled_jpeg.read_index(stored[:cut], "a/b")
    rng = np.random.default_rng(0)
    for _ in range(300):  # a damaged index is refused, or its crops stay inside the record
        spoilt = bytearray(stored)
        spoilt[rng.integers(tiled_jpeg.FIELDS_OFFSET, size)] = rng.integers(256)
        try:
            actual = tiled_jpeg.read_index(spoilt, "x")
        except ConfigError:
            continue
        tiled_jpeg.splice(spoilt, actual, (0, 0, min(actual.width, 64), min(actual.height, 64)))
