"""A store that was cut short or changed is refused or reported by record: never a crash, never other pixels without a word."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from accel.data.batches.bad_samples import BadSampleRule
from accel.data.batches.make_batches import make_batches
from accel.data.codecs.image_reader import PILLOW_READER
from accel.data.datasets.image_folder import Folder
from accel.data.stores import lmdb_pages
from accel.data.stores.formats import store_at
from accel.errors import ConfigError
from tests.data.batches.test_collected import packed
from tests.data.stores.conftest import Pack
from tests.support.forked_process import run_code

BOTH = pytest.mark.parametrize("format", ["lmdb", "raw"])

READER = """
import sys
from pathlib import Path
from zlib import crc32
from accel.data.stores.formats import store_at
from accel.errors import ConfigError

for path in sys.argv[1:]:
    print(path, end=" ", flush=True)
    try:
        store = store_at(Path(path))
        found = [store.label(index) for index in range(len(store))], store.classes, store.encoding
        print("opened", crc32(repr(found).encode()), end="")
    except ConfigError as error:
        print("refused", end="\\n", flush=True)
        continue
    for index in range(len(store)):
        try:
            print("", crc32(store.get(index)), end="")
        except ConfigError as error:
            assert store.key(index) in str(error) and path in str(error), error
            print(" reported", end="")
    print(flush=True)
"""
"""Run on its own: what it survives is the point. One line per file: refused, or the crc32 of each record."""


def read(paths: list[Path]) -> list[list[str]]:
    done = run_code(READER, *paths)
    assert done.code == 0, f"the reader died: {done.code}\n{done.stdout[-300:]}\n{done.stderr[-2000:]}"
    lines = [line.split()[1:] for line in done.stdout.splitlines()]
    assert len(lines) == len(paths)
    return lines


@BOTH
@pytest.mark.slow
def test_cut_short(pack: Pack, format: str, tmp_path: Path) -> None:
    data = pack(format).path.read_bytes()
    rng = np.random.default_rng(0)
    lengths = [0, 1, 4096, 8192, len(data) - 4096, len(data) - 1, *rng.integers(len(data), size=20).tolist()]
    paths = []
    for number, length in enumerate(lengths):
        paths.append(tmp_path / f"{number}.{format}")
        paths[-1].write_bytes(data[:length])
    assert read(paths) == [["refused"]] * len(paths)
    longer = tmp_path / f"longer.{format}"
    longer.write_bytes(data + b"x")
    assert read([longer]) == [["refused"]]


@BOTH
@pytest.mark.slow
def test_one_bit_flipped(pack: Pack, format: str, tmp_path: Path) -> None:
    """Anywhere, and in the places that matter: both ends, and (of LMDB) the tree, which its C code would follow astray."""
    store = pack(format)
    data = store.path.read_bytes()
    (sound,) = read([store.path])
    assert sound[0] == "opened"
    assert "reported" not in sound
    rng = np.random.default_rng(1)
    places = [*rng.integers(len(data), size=50), *rng.integers(8192, size=30), *rng.integers(len(data) - 4096, len(data), size=20)]
    paths = []
    for number, place in enumerate(places):
        damaged = bytearray(data)
        damaged[place] ^= 1 << int(rng.integers(8))
        paths.append(tmp_path / f"{number}.{format}")
        paths[-1].write_bytes(damaged)
    outcomes = read(paths)
    for outcome, place in zip(outcomes, places, strict=True):
        if outcome != ["refused"]:
            assert len(outcome) == len(sound)
            assert sum(now != "reported" and now != was for now, was in zip(outcome, sound, strict=True)) == 0, f"byte {place}"
    assert ["refused"] in outcomes
    assert any("reported" in outcome for outcome in outcomes)


def test_every_page_of_the_tree_is_watched(pack: Pack, tmp_path: Path) -> None:
    """A flipped bit there could lead LMDB anywhere: no store is opened in which one is, whatever it means."""
    store = pack("lmdb")
    data = store.path.read_bytes()
    with open(store.path, "rb") as file:
        actual = lmdb_pages.newest_meta(file.fileno(), store.path)
        runs = lmdb_pages.tree_pages(file.fileno(), actual).tolist()
    numbers = [number for first, count in runs for number in range(first, first + count)]
    assert len(numbers) >= 4, "two metas, a root and leaves that hold the small records themselves"
    rng = np.random.default_rng(2)
    for number in numbers:
        for place in [*range(24), *rng.integers(actual.page_size, size=10).tolist()]:
            damaged = bytearray(data)
            damaged[number * actual.page_size + place] ^= 1 << int(rng.integers(8))
            path = tmp_path / "damaged.lmdb"
            path.write_bytes(damaged)
            with pytest.raises(ConfigError, match="damaged"):
                lmdb_pages.check(path)


@BOTH
def test_records_cannot_change_places(pack: Pack, format: str) -> None:
    """Two records of the same size, each with the crc32 of its own: whole, but not where they belong."""
    store = pack(format, encoding="raw")
    assert len(store) == 40
    data = bytearray(store.path.read_bytes())
    first, second = (bytes(store.framed_record(index)) for index in (3, 23))
    assert len(first) == len(second)
    at, other = data.index(first), data.index(second)
    data[at : at + len(first)], data[other : other + len(second)] = second, first
    swapped = store.path.with_name(f"swapped.{format}")
    swapped.write_bytes(data)
    with pytest.raises(ConfigError, match=r"cat/11.webp \(record 3 of .*swapped.* is damaged: its crc32 differs"):
        store_at(swapped).get(3)


@pytest.mark.parametrize(
    ("format", "data", "message"),
    [
        ("lmdb", b"", "is no LMDB file"),
        ("lmdb", b"no store" * 5000, "is no LMDB file"),
        ("raw", b"", "is no raw store, or was never finished"),
        ("raw", b"no store" * 5000, "is no raw store"),
    ],
)
def test_other_files(tmp_path: Path, format: str, data: bytes, message: str) -> None:
    path = tmp_path / f"x.{format}"
    path.write_bytes(data)
    with pytest.raises(ConfigError, match=message):
        len(store_at(path))


def test_an_lmdb_file_of_someone_else(tmp_path: Path) -> None:
    lmdb = pytest.importorskip("lmdb")
    with lmdb.open(str(tmp_path / "x.lmdb"), subdir=False, lock=False) as env, env.begin(write=True) as transaction:
        transaction.put(b"key", b"value")
    with pytest.raises(ConfigError, match="was not made by accel"):
        len(store_at(tmp_path / "x.lmdb"))


@BOTH
def test_a_store_that_is_not_there(tmp_path: Path, format: str) -> None:
    with pytest.raises(ConfigError, match=r"cannot open the store .*x\.(lmdb|raw): No such file"):
        len(store_at(tmp_path / f"x.{format}"))
    with pytest.raises(ConfigError, match="its name ends in neither"):
        store_at(tmp_path / "x.tar")


@BOTH
def test_a_damaged_record_is_left_out_by_name_or_ends_the_run(pack: Pack, format: str) -> None:
    """By the policy for bad data; a store that is damaged elsewhere is refused, whatever the policy."""
    store = pack(format, encoding="raw")
    assert len(store) == 40
    data = bytearray(store.path.read_bytes())
    at = data.index(bytes(store.framed_record(3)))
    data[at + 50] ^= 1
    damaged = store_at(store.path.with_name(f"damaged.{format}"))
    damaged.path.write_bytes(data)
    folder = Folder.__new__(Folder)
    folder.store, folder.side, folder.share, folder.reader = damaged, 8, 1.0, PILLOW_READER
    folder.shape, folder.dtype = (8, 8, 3), np.uint8
    batches = make_batches(folder, 4, bad=BadSampleRule("skip", 0.1))
    assert [len(labels) for _, labels in batches.epoch(0)] == [3, *[4] * 9]
    assert batches.bad_sample_log is not None
    assert list(batches.bad_sample_log.reasons) == [3]
    assert "(record 3 of " in batches.bad_sample_log.reasons[3]
    assert "is damaged: its crc32 differs" in batches.bad_sample_log.reasons[3]
    with pytest.raises(ConfigError, match=r"record 3 of .* is damaged: its crc32 differs; pack the store again"):
        list(make_batches(folder, 4).epoch(0))
    short = store.path.with_name(f"short.{format}")
    short.write_bytes(data[:-100])
    folder.store = store_at(short)
    with pytest.raises(ConfigError, match="cut short"):
        list(make_batches(folder, 4, bad=BadSampleRule("skip", 1.0)).epoch(0))


CUT = """
import os, sys
from pathlib import Path
from accel.data.stores.formats import store_at
from accel.errors import TrainingError

for path in sys.argv[1:]:
    store = store_at(Path(path))
    several = store.gather if getattr(store, "size", None) else store.get_many
    store.get(0), several([0])
    size = os.path.getsize(path)
    os.truncate(path, size // 2)
    for read in (store.get, lambda index: several([index])):
        for index in range(len(store)):
            try:
                read(index)
            except TrainingError as error:
                assert f"{path} was cut short while it was read: it has {size // 2:,} bytes of {size:,}; " in str(error), error
            else:
                raise AssertionError(index)
    os.truncate(path, size)
print("survived")
"""


@pytest.mark.slow
def test_cut_short_while_it_is_read(pack: Pack, tmp_path: Path) -> None:
    """Where the missing pages are mapped, to look at one would be the end of the process."""
    paths = [str(store.path) for store in (pack("lmdb"), pack("raw"), packed(tmp_path / "of one size", [(16, 16)] * 40))]
    done = run_code(CUT, *paths)
    assert done.code == 0, done.stderr[-2000:]
    assert done.stdout == "survived\n"
