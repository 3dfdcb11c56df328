from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from PIL import Image

from accel.data.codecs import crops, opencv_decoder, tiled_jpeg
from accel.data.codecs.image_reader import ImageReader
from accel.data.codecs.jpeg_decoder import Decoder
from accel.data.codecs.resample import Filter
from accel.data.sampling import sample_rng
from accel.errors import ConfigError
from accel.tasks.images import Images
from tests.support.drawn_images import SAMPLINGS, drawing, drawn, jpeg, pixels

DECODERS: tuple[Any, ...] = get_args(Decoder)
FILTERS: tuple[Any, ...] = get_args(Filter)
SIZES = ((97, 71), (60, 150), (33, 40))


def boxes(width: int, height: int) -> list[crops.Box]:
    """Random ones, the whole, centred ones with half pixels, and one pixel in each corner."""
    rng = sample_rng(0, 0, width)
    some = [crops.random_resized(width, height, rng) for _ in range(6)]
    corners: list[crops.Box] = [(0, 0, 1, 1), (width - 1, height - 1, width, height), (width - 1, 0, width, 1)]
    return [*some, (0, 0, width, height), crops.centre(width, height), crops.centre(width, height, 0.875), *corners]


@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("filter", FILTERS)
@pytest.mark.parametrize("side", [8, 24, 50])
def test_decoder_and_store_never_change_a_pixel(sampling: str, filter: Any, side: int) -> None:
    """Of the same file, of the file in tiles, of its pixels: the same boxes by all decoders that say so."""
    for width, height in SIZES:
        original = drawn(width, height, sampling)
        records: list[tuple[Any, str]] = [
            (original, "original"), (tiled_jpeg.from_jpeg(original, "x", 16), "tiled"), (memoryview(pixels(original)), "raw"),
        ]  # fmt: skip
        for box in boxes(width, height):
            wanted = ImageReader("pillow", filter).open(original, "x").resized_crop(box, side)
            for decoder in ("pillow", "opencv", "simplejpeg"):
                for record, encoding in records:
                    picture = ImageReader(decoder, filter).open(record, "x", encoding)
                    assert picture.size == (width, height)
                    assert np.array_equal(picture.resized_crop(box, side), wanted), (decoder, encoding, box)


@pytest.mark.parametrize("filter", FILTERS)
def test_scaled_is_the_same_from_a_file_and_from_its_tiles(filter: Any) -> None:
    reader = ImageReader("scaled", filter)
    for sampling in SAMPLINGS:
        for width, height in ((203, 150), (46, 119)):
            original = drawn(width, height, sampling)
            stored = tiled_jpeg.from_jpeg(original, "x", 16)
            narrow: list[crops.Box] = [(1, 60, 7, 74), (38, 3, 46, 30), (16, 16, 32, 32)]
            for box in [*boxes(width, height), *narrow]:
                for side in (1, 2, 8, 30, 150):
                    shown = reader.open(original, "x").resized_crop(box, side)
                    assert np.array_equal(reader.open(stored, "x").resized_crop(box, side), shown)


def test_scaled_is_close_and_shrinks_only_where_enough_is_left() -> None:
    picture = drawing(256, 256).resize((1024, 1024), Image.Resampling.BICUBIC)
    coded = jpeg(picture)
    for side, same in ((512, False), (513, True)):
        exact = ImageReader("simplejpeg").open(coded, "x").resized_crop((0, 0, 1024, 1024), side).astype(int)
        shrunk = ImageReader("scaled").open(coded, "x").resized_crop((0, 0, 1024, 1024), side)
        assert np.array_equal(exact, shrunk) == same
        assert np.sqrt(((exact - shrunk) ** 2).mean()) < 3


@pytest.mark.parametrize("encoded", ["tiled", "jpeg"])
def test_what_is_encoded_anew_is_the_same_by_all_decoders(encoded: str) -> None:
    picture = drawing(75, 50)
    record = tiled_jpeg.encode(picture, 90) if encoded == "tiled" else jpeg(picture)
    for filter in FILTERS:
        for box in boxes(75, 50):
            shown = [ImageReader(decoder, filter).open(record, "x").resized_crop(box, 20).tobytes() for decoder in DECODERS[:3]]
            assert len(set(shown)) == 1


def test_the_default_is_pillow_to_the_bit() -> None:
    coded = drawn(90, 66)
    for box in boxes(90, 66):
        wanted = np.asarray(Image.open(BytesIO(coded)).convert("RGB").resize((32, 32), Image.Resampling.BILINEAR, box=box))
        assert np.array_equal(ImageReader().open(coded, "x").resized_crop(box, 32), wanted)


@pytest.mark.parametrize("filter", ["linear", "area"])
def test_filters_of_opencv_look_at_the_box_alone(filter: Any) -> None:
    picture = drawing(64, 64)
    framed = np.full((64, 64, 3), 255, np.uint8)
    framed[10:40, 20:50] = np.asarray(picture)[10:40, 20:50]
    shown = [
        ImageReader("opencv", filter).open(memoryview(p), "x", "raw").resized_crop((20, 10, 50, 40), 12)
        for p in (framed, np.array(picture))
    ]
    assert np.array_equal(*shown)


def test_area_of_an_even_scale_is_the_mean() -> None:
    picture = np.array(drawing(40, 40))
    shown = ImageReader("opencv", "area").open(memoryview(picture), "x", "raw").resized_crop((4, 8, 36, 40), 8)
    assert np.abs(shown - picture[8:40, 4:36].reshape(8, 4, 8, 4, 3).mean((1, 3))).max() <= 0.5001


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("filter", FILTERS)
def test_fills_the_memory_that_is_given(decoder: Any, filter: Any) -> None:
    ring = np.zeros((3, 16, 16, 3), np.uint8)
    reader = ImageReader(decoder, filter)
    for record in (drawn(40, 30), tiled_jpeg.encode(drawing(40, 30)), png(drawing(40, 30))):
        picture = reader.open(record, "x")
        for box in ((0.0, 0.0, 40.0, 30.0), (0.0, 0.0, 16.0, 16.0)):
            out = ring[1]
            assert picture.resized_crop(box, 16, out) is out
            assert np.array_equal(out, picture.resized_crop(box, 16))
            mirrored = np.zeros((16, 16, 3), np.uint8)
            picture.resized_crop(box, 16, mirrored[:, ::-1])
            assert np.array_equal(mirrored[:, ::-1], out)
    assert not ring[0].any()
    assert not ring[2].any()


def png(picture: Image.Image) -> bytes:
    stream = BytesIO()
    picture.save(stream, "PNG")
    return stream.getvalue()


@pytest.mark.parametrize("decoder", DECODERS)
def test_odd_files_are_pillows(decoder: Any) -> None:
    """Other formats, CMYK, 16 bits, files turned by EXIF or with warnings: the same pixels, whoever was asked."""
    exif = Image.Exif()
    exif[0x0112] = 6
    deep = Image.fromarray(np.arange(0, 40 * 30 * 50, 50, dtype=np.uint16).reshape(30, 40))
    drawn_here = drawing(40, 30)
    coded = drawn(40, 30)
    odd = [
        png(drawn_here), png(drawn_here.convert("RGBA")), png(deep), png(drawn_here.convert("P")),
        jpeg(drawn_here.convert("CMYK"), "4:4:4"), drawn(40, 30, exif=exif), drawn(40, 30, progressive=True),
        drawn(40, 30, "4:4:4", keep_rgb=True), coded[:-2] + b"junk\xff\xd9", coded + b"more behind it",
    ]  # fmt: skip
    for record in odd:
        wanted = ImageReader().open(record, "x").resized_crop((1, 2, 39, 27), 16)
        assert np.array_equal(ImageReader(decoder).open(record, "x").resized_crop((1, 2, 39, 27), 16), wanted)


@pytest.mark.parametrize("decoder", DECODERS)
def test_tiles_of_every_kind_of_colours_are_what_pillow_shows(decoder: Any) -> None:
    picture = drawing(90, 60)
    for original in (jpeg(picture.convert("CMYK"), "4:4:4"), drawn(90, 60, "4:4:4", keep_rgb=True), drawn(90, 60, "grey")):
        wanted = ImageReader().open(original, "x").resized_crop((21, 2, 49, 57), 16)
        stored = tiled_jpeg.from_jpeg(original, "x", 16)
        assert np.array_equal(ImageReader(decoder).open(stored, "x").resized_crop((21, 2, 49, 57), 16), wanted)


def test_decode_knows_what_fills_up_the_tiles() -> None:
    assert tiled_jpeg.decode(tiled_jpeg.encode(drawing(33, 20)), "x").size == (33, 20)


@pytest.mark.parametrize("decoder", DECODERS)
def test_a_truncated_file_is_a_sentence_for_every_decoder(decoder: Any) -> None:
    coded = drawn(64, 64)
    for size in (0, 1, 3, 100, len(coded) // 2, len(coded) - 10):
        with pytest.raises(ConfigError, match=r"cannot read the picture a/b.jpg"):
            ImageReader(decoder).open(coded[:size], "a/b.jpg").resized_crop((0, 0, 64, 64), 16)


@pytest.mark.parametrize("decoder", DECODERS)
def test_the_limit_names_file_and_pixels(decoder: Any) -> None:
    reader = ImageReader(decoder, limit=40 * 30)
    for record in (drawn(40, 30), tiled_jpeg.encode(drawing(40, 30)), png(drawing(40, 30))):
        reader.open(record, "x")
    for record in (drawn(41, 30), tiled_jpeg.encode(drawing(41, 30)), png(drawing(41, 30))):
        with pytest.raises(ConfigError, match=r"the picture a/b has 41 x 30 pixels, above the limit of 1,200"):
            reader.open(record, "a/b")


def test_a_bomb_is_refused_before_it_is_decoded() -> None:
    coded = bytearray(drawn(16, 16))
    at = coded.index(b"\xff\xc0") + 5
    coded[at : at + 4] = b"\xff\x00\xff\x00"
    for decoder in DECODERS:
        with pytest.raises(ConfigError, match=r"the picture a/b .*above the limit of 178,956,970"):
            ImageReader(decoder).open(coded, "a/b")


@pytest.mark.parametrize("decoder", DECODERS)
def test_threads_show_what_one_thread_shows(decoder: Any) -> None:
    """Many sizes at once, so that memory shared by mistake would show."""
    reader = ImageReader(decoder, "linear")
    records = [drawn(40 + 13 * number, 90 - 7 * number) for number in range(8)]
    records += [tiled_jpeg.from_jpeg(record, "x", 16) for record in records]

    def show(record: bytes) -> bytes:
        picture = reader.open(record, "x")
        return picture.resized_crop(crops.centre(*picture.size), 24).tobytes()

    alone = [show(record) for record in records]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(show, records * 20)) == alone * 20


def test_opencv_is_asked_for_one_thread() -> None:
    assert opencv_decoder.opencv().getNumThreads() == 1


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("filter", FILTERS)
def test_the_task_passes_both_on(tmp_path: Path, decoder: Any, filter: Any) -> None:
    for split in ("train", "val"):
        for name in ("a", "b"):
            (tmp_path / split / name).mkdir(parents=True)
            (tmp_path / split / name / "0.jpg").write_bytes(drawn(80, 60))
    task = Images(root=str(tmp_path), size=16, crop="resized", flip=False, decoder=decoder, filter=filter)
    for split in ("train", "val"):
        assert task.data(split).reader == ImageReader(decoder, filter)
        assert task.data(split).plan_notes() == {"pictures": f"decoded by {decoder}, resampled by {filter}"}
    plain = Images(root=str(tmp_path), size=16, crop="resized", flip=False).data("train")
    assert (task.data("train").fingerprint() == plain.fingerprint()) == (decoder == "pillow" and filter == "antialias")
    shown = task.data("val")[0][0].numpy()
    wanted = ImageReader(decoder, filter).open(drawn(80, 60), "x").resized_crop(crops.centre(80, 60, 0.875), 16)
    assert np.array_equal(shown, wanted)


@pytest.mark.parametrize(
    ("settings", "missing", "message"),
    [
        ({"decoder": "opencv"}, "cv2", "task.decoder=opencv .* needs? OpenCV: pip install 'accel-train.opencv.'"),
        ({"filter": "area"}, "cv2", "task.filter=linear or area need OpenCV: pip install 'accel-train.opencv.'"),
        ({"decoder": "scaled"}, "simplejpeg", "needs simplejpeg: pip install 'accel-train.simplejpeg.'"),
    ],
)
def test_a_missing_package_is_named_at_the_start(settings: dict[str, str], missing: str, message: str) -> None:
    code = f"""
import re, sys
sys.modules[{missing!r}] = None
from accel.data.codecs.image_reader import ImageReader
from accel.errors import ConfigError
try:
    ImageReader(**{settings!r}).check()
except ConfigError as error:
    assert re.search({message!r}, str(error)), error
else:
    raise AssertionError("no error")
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("reader", [ImageReader(), ImageReader("opencv"), ImageReader("simplejpeg", "area")])
def test_mirrors_where_it_lies(reader: ImageReader) -> None:
    for shape in ((7, 5, 3), (16, 16, 3), (3, 1, 3), (5, 67, 3)):
        pixels = np.random.default_rng(0).integers(256, size=shape, dtype=np.uint8)
        frame = np.zeros((shape[0] + 2, shape[1] + 2, 3), np.uint8)
        for out in (np.empty(shape, np.uint8), frame[1:-1, 1:-1]):  # also inside of a larger one
            out[...] = pixels
            reader.mirror(out)
            assert np.array_equal(out, pixels[:, ::-1])
        assert not frame[0].any()
        assert not frame[:, 0].any()
