"""Crafted tars, TFRecord and LMDB files, and caches, with every checksum right: read, made anew, or refused in a sentence."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any
from zlib import crc32

import numpy as np
import pytest
import torch

from accel.data.cache import tensor_cache
from accel.data.cache.record_cache import CONTENT_HEAD, ENTRY, HEAD, MAGIC, RecordCache
from accel.data.datasets.image_folder import Folder
from accel.data.shards.index_cache import IndexCache
from accel.data.shards.lmdb_pictures import LMDBPictures
from accel.data.shards.range_reader import LocalFile
from accel.data.shards.shard_store import ShardStore
from accel.data.shards.tfrecord_shards import TFRecords
from accel.data.shards.webdataset_shards import Tars
from accel.data.stores.pack_journal import Journal
from accel.errors import ConfigError, TrainingError
from tests.support.crafted_content import NUMBERS, VALUES, mutated, mutated_numbers
from tests.support.drill_length import LONG
from tests.support.lmdb_layouts import write_lmdb
from tests.support.shard_writer import draw_folder, example, files, frame, write_records, write_tars

ROUNDS = 1000 if LONG else 80
Opened = Callable[[Path], ShardStore]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_folder(tmp_path_factory.mktemp("data"), {"train": 2}, ("cat", "dog"))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def look(opened: Callable[[], ShardStore]) -> bool:
    """Read all of a store that can be read; return whether it was refused in a sentence."""
    sentence = ""
    try:
        store = opened()
        assert len(store) < 100
        for index in range(len(store)):
            assert 0 <= store.label(index) < len(store.classes)
            store.get(index), store.key(index), store.name(index)
        store.describe()
        data = Folder(store, store.classes, 8)
        data.fingerprint()
        data[0]
    except (ConfigError, TrainingError) as error:
        sentence = str(error)
    assert "\n" not in sentence
    return bool(sentence)


def craft_tar(data: Path, path: Path, random: Random) -> None:
    (made,) = write_tars(data / "train", path, shards=1)
    content = bytearray(made.read_bytes())
    made.unlink()
    heads = [place for place in range(0, len(content), 512) if content[place + 257 : place + 262] == b"ustar"]
    place, (start, length) = random.choice(heads), random.choice([(0, 100), (124, 12), (124, 12), (156, 1), (345, 155)])
    filling = [
        b"",
        b"\xff" * length,
        b"7" * length,
        b"\x80" + b"\xff" * 11,
        b"-1",
        b"x",
        bytes([random.choice(b"0123456789xgLKSV\0")]),
    ]
    content[place + start : place + start + length] = random.choice(filling)[:length].ljust(length, b"\0")
    if random.random() < 0.3:  # the label
        body = place + 512
        content[body : body + 10] = random.choice([b"-1        ", b"9" * 10, b"\xff" * 10, b"1e3       ", "٣".encode() + b" " * 8])[
            :10
        ]
    head = content[place : place + 512]
    content[place + 148 : place + 156] = b"%06o\0 " % (sum(head[:148]) + 256 + sum(head[156:]))
    path.write_bytes(content)


def craft_records(data: Path, path: Path, random: Random) -> None:
    store = files(data / "train")
    pieces = []
    for number in range(len(store)):
        content = example(
            image__encoded=store.get(number), image__class__label=store.label(number), image__filename=store.key(number)
        )
        if number == 1:
            crafted = bytearray(content)
            for _ in range(random.randrange(1, 3)):
                place = random.choice(
                    [random.randrange(60), random.randrange(len(crafted)), len(crafted) - 1 - random.randrange(60)]
                )
                crafted[place] = random.choice([0, 1, 8, 10, 127, 128, 255, random.randrange(256)])
            content = bytes(crafted)
            if random.random() < 0.3:
                label = random.choice([*NUMBERS, -1])
                content = example(
                    image__encoded=store.get(number), image__class__label=min(label, 2**63 - 1) if label < 2**20 else 5
                )
        pieces.append(frame(content))
    path.write_bytes(b"".join(pieces))


def craft_lmdb(data: Path, path: Path, random: Random) -> None:
    store = files(data / "train")
    entries = {store.key(number): store.get(number) for number in range(len(store))} | {
        "x/y.jpg": b"\xff\xd8\xff" * random.choice([1, 2000])
    }
    write_lmdb(path, entries, folder=False)
    content = bytearray(path.read_bytes())
    for _ in range(random.randrange(1, 3)):
        page = random.randrange(len(content) // 4096)
        place = page * 4096 + random.choice([*range(0, 160, 2), *range(4096 - 200, 4096, 2)])
        content[place : place + 2] = random.choice([0, 1, 2, 3, 15, 16, 17, 255, 4095, 4096, 65535]).to_bytes(2, "little")
    path.write_bytes(content)


CRAFTS: dict[str, tuple[Callable[[Path, Path, Random], None], Opened]] = {
    "tar": (craft_tar, lambda path: Tars([str(path)])),
    "tfrecord": (craft_records, lambda path: TFRecords([str(path)])),
    "lmdb": (craft_lmdb, lambda path: LMDBPictures(str(path))),
}


@pytest.mark.parametrize("format", CRAFTS)
def test_each_is_read_or_refused_in_a_sentence(data: Path, tmp_path: Path, format: str) -> None:
    craft, opened = CRAFTS[format]
    if format == "tfrecord":
        pytest.importorskip("google_crc32c", reason="needs the extra tfrecord")
    random, refused = Random(0), 0
    for number in range(ROUNDS):
        path = tmp_path / f"{number}.{format}"
        craft(data, path, random)
        refused += look(lambda path=path: opened(path))  # type: ignore[misc]
        path.unlink()
    assert refused > ROUNDS // 8


def test_an_index_in_the_cache_that_leads_nowhere_is_made_anew(data: Path, tmp_path: Path) -> None:
    (path,) = write_tars(data / "train", tmp_path / "x", shards=1)
    good = Tars([str(path)])
    kept, random = IndexCache(LocalFile(str(path)), good.index_kind), Random(0)
    arrays = kept.load() or {}
    for _ in range(ROUNDS):
        crafted = dict(arrays)
        name = random.choice(list(crafted))
        change = random.randrange(5)
        if change == 0:
            del crafted[name]
        elif change == 1:
            crafted[name] = np.array(mutated_numbers(crafted[name].tolist(), 63, random), np.int64)
        elif change == 2:
            crafted[name] = crafted[name][: random.randrange(len(crafted[name]))]
        elif change == 3:
            crafted[name] = random.choice(
                [np.array("x"), np.zeros((2, 2)), np.array([1.5] * 4), np.array([True] * 4), np.array([])]
            )
        else:
            crafted["more"] = np.zeros(3)
        kept.save(crafted)
        refused = look(lambda: Tars([str(path)]))
        assert not refused or change == 1, "what cannot be an index is made anew"
    assert good.get(0)
    stream = io.BytesIO()
    np.savez(stream, offsets=np.array([{}], dtype=object))
    kept.path.write_bytes(crc32(stream.getvalue()).to_bytes(4, "little") + stream.getvalue())
    assert Tars([str(path)]).get(0) == good.get(0)


def test_class_texts_in_the_cache_that_no_scan_gives_are_made_anew(data: Path, tmp_path: Path) -> None:
    pytest.importorskip("google_crc32c", reason="needs the extra tfrecord")
    (path,) = write_records(data / "train", tmp_path / "x", shards=1)
    good = TFRecords([str(path)])
    kept = IndexCache(LocalFile(str(path)), good.index_kind)
    arrays = kept.load() or {}
    texts: list[Any] = [None, np.array("0 a"), np.zeros(2), np.array([["0 a"]]), np.array(["9" * 5000 + " a"]), np.array(["a"])]
    for crafted in ({"class_texts": text} for text in texts):
        kept.save({name: value for name, value in (arrays | crafted).items() if value is not None})
        assert TFRecords([str(path)]).classes == good.classes
    kept.save(arrays | {"class_offsets": np.zeros(99)})
    assert TFRecords([str(path)]).classes == good.classes


def test_kept_records_and_tensors_that_lead_nowhere_count_as_absent(tmp_path: Path) -> None:
    random = Random(0)
    for number in range(ROUNDS):
        path = tmp_path / f"{number}.kept"
        RecordCache(2, 1 << 20, path, "key").put(0, b"content")
        content = bytearray(path.read_bytes())
        place, length, height, width, _ = ENTRY.unpack_from(content, HEAD.size)
        place, length = mutated_numbers([place, length], 64, random)
        crc = crc32(b"content", crc32(CONTENT_HEAD.pack(place, length, height, width)))
        ENTRY.pack_into(content, HEAD.size, place, length, height, width, crc)
        path.write_bytes(content)
        assert RecordCache(2, 1 << 20, path, "key").get(0) is None or place + length <= len(content)
    assert MAGIC in content
    file, tensors = tmp_path / "x.safetensors", [torch.arange(4.0), torch.ones(2, dtype=torch.uint8)]
    for _ in range(ROUNDS):
        tensor_cache.save(file, "key", tensors)
        raw = file.read_bytes()
        head = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
        text = json.dumps(mutated(head, random)).encode()
        file.write_bytes(len(text).to_bytes(8, "little") + text + raw[8 + int.from_bytes(raw[:8], "little") :])
        loaded = tensor_cache.load(file, "key", tensors)
        assert loaded is None or all(map(torch.equal, loaded, tensors))


def test_a_journal_of_packing_that_accel_did_not_write_keeps_nothing(tmp_path: Path) -> None:
    random, recipe = Random(0), {"encoding": "original", "version": 1}
    for _ in range(ROUNDS):
        path = tmp_path / "x.lmdb.plan"
        text = (
            json.dumps(mutated([recipe, ["a", "b"]], random))
            if random.random() < 0.9
            else random.choice(["[", "[" * 5000, "x", "{}"])
        )
        path.write_text(text + "\n\n" + random.choice(["", "1\n", "٣\n", "²\n", "9" * 5000 + "\n", "-1\n"]))
        journal = Journal(path)
        limit, skipped = journal.resumable(recipe, ["a", "b"], True)
        assert 0 <= limit <= 2
        assert all(0 <= number < 2 for number in skipped)
        journal.close(True)
    assert len(VALUES) > 20


def test_records_of_any_shape_are_refused(data: Path, tmp_path: Path) -> None:
    pytest.importorskip("google_crc32c", reason="needs the extra tfrecord")
    (path,) = write_records(data / "train", tmp_path / "x", shards=1)
    assert not look(lambda: TFRecords([str(path)]))
