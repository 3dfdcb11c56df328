"""LMDB files of other tools: the pictures and labels of the folder that they were written of, by settings or by themselves."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from accel import __main__
from accel.data.shards.lmdb_pictures import LMDBPictures
from accel.data.shards.lmdb_tree import lmdb_entries
from accel.data.shards.range_reader import LocalFile
from accel.data.stores.formats import store_at
from accel.errors import ConfigError
from accel.plugins.lmdb import LMDB
from accel.plugins.threads import Threads
from accel.tasks.images import Images
from tests.support.lmdb_layouts import LAYOUTS, write_lmdb, write_splits
from tests.support.shard_writer import digests, draw_folder, files

pytest.importorskip("lmdb", reason="needs the extra lmdb")


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return draw_folder(tmp_path / "data", {"train": 6, "val": 2}, ("cat", "dog"))


def task(root: Path, *plugins: Any, **settings: Any) -> Images:
    return Images(root=str(root), size=16, plugins=plugins, watch=(), batch_size=4, device="cpu", **settings)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_layout_is_read_alone_beside_the_folder_and_by_pack(data: Path, tmp_path: Path, layout: str) -> None:
    settings = write_splits(layout, data, tmp_path / "root")
    expected, plugin = task(data), LMDB(**settings)
    alone, source = task(tmp_path / "root", plugin), LMDB(path=str(tmp_path / "root"), **settings)
    plugin.setup(None)  # type: ignore[arg-type]
    source.setup(None)  # type: ignore[arg-type]
    assert alone.classes in (["cat", "dog"], ["0", "1"])
    for split in ("train", "val"):
        batches = digests(expected.data(split), split == "train")
        assert digests(alone.data(split), split == "train") == batches
        assert plugin.open(alone.data(split), split).store is alone.splits[split], "it is opened once"
        assert digests(source.open(expected.data(split), split), split == "train") == batches
    flags = [word for name, value in settings.items() for word in (f"--{name}", value)]
    assert __main__.main(["pack", "root", "packed", "--workers", "1", *flags]) == 0
    packed = store_at("packed/train.lmdb")
    assert [bytes(packed.get(number)) for number in range(12)] == [files(data / "train").get(number) for number in range(12)]
    assert [packed.label(number) for number in range(12)] == [0] * 6 + [1] * 6


def test_the_run_and_its_resume_are_those_of_the_folder(data: Path, tmp_path: Path) -> None:
    settings = write_splits("listed", data, tmp_path / "root")
    plain = task(data, epochs=2).fit()
    task(tmp_path / "root", LMDB(**settings), out=tmp_path / "run", epochs=1).fit()
    read = task(tmp_path / "root", LMDB(**settings), Threads(), resume=tmp_path / "run", epochs=2).fit()
    assert plain.metrics == read.metrics
    assert all(torch.equal(a, b) for a, b in zip(plain.model.parameters(), read.model.parameters(), strict=True))


def test_it_may_be_sent_to_another_process(data: Path, tmp_path: Path) -> None:
    write_splits("by_folder", data, tmp_path / "root")
    store = LMDBPictures(str(tmp_path / "root" / "train.lmdb" / "data.mdb"))
    twin = pickle.loads(pickle.dumps(store))
    assert twin.get_many([3, 5]) == store.get_many([3, 5])
    assert twin.fingerprint() == store.fingerprint()
    assert store.describe().endswith("train.lmdb")


def test_every_entry_of_many_pages_is_found(tmp_path: Path) -> None:
    """Small values inside the pages, and large ones in pages of their own; a tree of three levels."""
    keys = [f"{number * 7919 % 5000:06}-{'k' * (number % 200)}" for number in range(3000)]
    entries = {key: bytes([number % 256]) * (number * 37 % 6000) for number, key in enumerate(keys)}
    path = write_lmdb(tmp_path / "many", entries) / "data.mdb"
    content = path.read_bytes()
    read = {entry.key.decode(): content[entry.offset : entry.offset + entry.size] for entry in lmdb_entries(LocalFile(str(path)))}
    assert read == entries
    assert list(read) == sorted(entries)


@pytest.mark.parametrize(
    ("entries", "settings", "sentence"),
    [
        ({"a/1.jpg": pickle.dumps((b"x", 1)), "b/1.jpg": b""}, {}, "is a pickled Python object, and reading one runs it"),
        ({"a/1.jpg": b"\x08\x03\x10\x20", "b/1.jpg": b"\x08"}, {}, "as no encoded picture does"),
        (
            {"1": b"\xff\xd8\xff", "2": b"\xff\xd8\xff"},
            {},
            "the key 1 has no folder for its class; say where labels stand: lmdb.labels=FILE",
        ),
        ({"a/1": b"", "b/2": b""}, {"keys": "*.gif"}, "none of the 2 keys fits"),
        ({"a/1": b"", "b/2": b""}, {"keys": "img%s"}, "must have one place for a number"),
        ({"i0": b"", "i1": b"", "l0": b"0"}, {"keys": "i%d", "labels": "l%d"}, "has the key i1, and none l1"),
        (
            {"i0": b"", "l0": b"99999999999"},
            {"keys": "i%d", "labels": "l%d"},
            "has the label 99999999999; a class is a number from 0",
        ),
        ({"i0": b"", "l0": b""}, {"keys": "i%d", "labels": "l%d"}, "has no label"),
        ({"a/1": b"", "b/2": b""}, {"labels": "none.txt"}, "lmdb.labels=none.txt cannot be read: No such file"),
        ({"header": b"", "index": b"", "x/y": b""}, {}, "is cut short or damaged"),
        ({}, {}, "holds no pictures"),
    ],
)
def test_what_cannot_be_read_is_refused_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entries: dict[str, bytes], settings: dict[str, str], sentence: str
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for split in ("train", "val"):
        write_lmdb(tmp_path / f"{split}.lmdb", entries)
    with pytest.raises(ConfigError, match=sentence):
        task(tmp_path, LMDB(**settings))


@pytest.mark.parametrize("line", ["one", "gone 1"])
def test_a_line_of_the_list_that_leads_nowhere_is_named(data: Path, tmp_path: Path, line: str) -> None:
    settings = write_splits("listed", data, tmp_path / "root")
    (tmp_path / "root" / "train-list.txt").write_text(f"00000 0\n{line}\n")
    with pytest.raises(ConfigError, match="line 2 "):
        task(tmp_path / "root", LMDB(**settings))


def test_databases_inside_the_database_are_refused(tmp_path: Path) -> None:
    import lmdb

    with lmdb.open(str(tmp_path / "x"), max_dbs=2) as environment, environment.begin(write=True) as transaction:
        transaction.put(b"k", b"v", db=environment.open_db(b"inner", transaction))
    with pytest.raises(ConfigError, match="holds databases inside the database"):
        LMDBPictures(str(tmp_path / "x" / "data.mdb"))
