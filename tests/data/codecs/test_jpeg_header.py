from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from accel.data.codecs.jpeg_header import is_jpeg, parse_header
from accel.data.codecs.restart_markers import restart_intervals
from accel.errors import ConfigError
from tests.support.drawn_images import SAMPLINGS, drawing, drawn, jpeg


@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("progressive", [False, True])
def test_the_header_says_what_pillow_says(sampling: str, progressive: bool) -> None:
    actual = parse_header(drawn(37, 21, sampling, progressive=progressive), "x")
    assert (actual.width, actual.height, actual.precision) == (37, 21, 8)
    assert len(actual.components) == (1 if sampling == "grey" else 3)
    assert actual.mcu == {"4:2:0": (16, 16), "4:2:2": (16, 8)}.get(sampling, (8, 8))
    assert actual.grid == (-(-37 // actual.mcu[0]), -(-21 // actual.mcu[1]))
    assert actual.sequential is not progressive


def test_everything_before_the_scan_may_be_there() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    coded = drawn(20, 20, exif=exif, comment=b"\xff\xd9 no end", restart_marker_blocks=1)
    filled = coded[:2] + b"\xff\xff\xff" + coded[2:]  # any marker may have more of 0xFF before it
    for data in (coded, filled, memoryview(coded), bytearray(coded)):
        actual = parse_header(data, "x")
        assert (actual.width, actual.height, actual.restart_interval) == (20, 20, 1)
        assert struct.unpack_from(">2H", data, actual.height_offset) == (20, 20)
        assert len(restart_intervals(data, actual.scan_offset, "x")) == 5


def test_intervals_lie_between_restart_markers() -> None:
    coded = drawn(64, 64, restart_marker_blocks=1)
    starts = restart_intervals(coded, parse_header(coded, "x").scan_offset, "x")
    assert len(starts) == 17
    for number, start in enumerate(starts[1:-1]):
        assert coded[start - 2 : start] == bytes([0xFF, 0xD0 + number % 8])
    assert coded[starts[-1] - 2 : starts[-1]] == b"\xff\xd9"
    assert starts[-1] == len(coded)


def test_what_follows_the_end_of_the_picture_has_no_intervals() -> None:
    coded = drawn(64, 64, restart_marker_blocks=1)
    start = parse_header(coded, "x").scan_offset
    for more in (b"", b"no marker", b"\xff\xd9", coded):
        assert restart_intervals(coded + more, start, "x").tolist() == restart_intervals(coded, start, "x").tolist()


def test_every_truncation_is_a_sentence() -> None:
    coded = drawn(24, 24, restart_marker_blocks=1)
    start = parse_header(coded, "x").scan_offset
    for size in range(start):
        with pytest.raises(ConfigError, match="JPEG the/file"):
            parse_header(coded[:size], "the/file")
    for size in range(start, len(coded)):
        assert parse_header(coded[:size], "x").scan_offset == start
        with pytest.raises(ConfigError, match="the/file: it is truncated"):
            restart_intervals(coded[:size], start, "the/file")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: b"GIF89a" + data, "does not begin as one"),
        (lambda data: data[:2] + b"\xff\xd9" + data[2:], "no picture in it"),
        (lambda data: data.replace(b"\xff\xc0", b"\xff\xfe"), "a scan before its frame header"),
        (lambda data: data.replace(b"\xff\xdb", b"\x00\xdb", 1), "no marker at byte"),
        (lambda data: data.replace(struct.pack(">2H", 24, 40), struct.pack(">2H", 0, 40)), "says 40 x 0 pixels"),
        (lambda data: data.replace(b"\x01\x22\x00", b"\x01\x02\x00", 1), "sampling factors are not from 1 to 4"),
        (lambda data: data.replace(b"\xff\xda\x00\x0c\x03\x01", b"\xff\xda\x00\x0c\x03\x09"), "a component that its frame"),
        (lambda data: data.replace(b"\xff\xda\x00\x0c\x03", b"\xff\xda\x00\x0c\x02"), "scan header has a wrong length"),
    ],
)
def test_contradictions_are_named(damage: object, message: str) -> None:
    assert callable(damage)
    with pytest.raises(ConfigError, match=message):
        parse_header(damage(drawn(40, 24)), "x")


def test_restart_markers_that_miscount() -> None:
    coded = drawn(64, 64, restart_marker_blocks=1)
    with pytest.raises(ConfigError, match="miscount"):
        restart_intervals(coded.replace(b"\xff\xd3", b"\xff\xd4"), parse_header(coded, "x").scan_offset, "x")
    several = drawn(64, 64, progressive=True)
    with pytest.raises(ConfigError, match="more than one scan"):
        restart_intervals(several, parse_header(several, "x").scan_offset, "x")


@settings(max_examples=200)
@given(st.integers(0, 2**32 - 1), st.integers(1, 8), st.integers(0, 700))
def test_hostile_bytes_end_in_a_sentence_or_a_header(seed: int, count: int, size: int) -> None:
    coded = bytearray(jpeg(drawing(16, 16)))
    rng = np.random.default_rng(seed)
    for place in rng.integers(2, len(coded), count):
        coded[place] = rng.choice([0, 0xFF, 0xD9, 0xDA, 0xC0, rng.integers(256)])
    coded = coded[: len(coded) - size] if size < len(coded) else coded
    try:
        actual = parse_header(coded, "x")
        starts = restart_intervals(coded, actual.scan_offset, "x")
    except ConfigError:
        return
    assert 0 < actual.scan_offset <= starts[-1] <= len(coded)


def test_what_is_none() -> None:
    assert not any(is_jpeg(data) for data in (b"", b"\xff", b"\xff\xd8\xff", b"BM" + bytes(50)))
