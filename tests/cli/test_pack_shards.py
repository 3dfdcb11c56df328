"""python -m accel pack of tar and TFRecord files, and of URLs: the store is the one that the folder gives."""

from __future__ import annotations

import gzip
import tarfile
from pathlib import Path
from typing import Any

import pytest

from accel import __main__
from accel.cli.pack.pack_targets import targets
from accel.data.shards.feature_names import FeatureNames
from accel.data.splits.shard_settings import ShardSettings
from accel.data.stores.formats import store_at
from accel.errors import ConfigError
from tests.support.drawn_images import write_noise
from tests.support.shard_writer import add, example, files, frame, write_records, write_tars

pytest.importorskip("lmdb", reason="needs the extra lmdb")


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`DIR`, with two splits, in the working directory."""
    write_noise(tmp_path / "DIR", {"train": 5, "val": 2}, 20, 30, nested=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def pack(*words: str) -> int:
    return __main__.main(["pack", *words, "--workers", "1"])


def prints(folder: str) -> dict[str, str]:
    """What is in each store, to the last bit of every record."""
    return {path.name: store_at(path).fingerprint() for path in Path(folder).glob("*.lmdb")}


@pytest.fixture
def expected(root: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    """The stores of the folder."""
    assert pack("DIR", "plain") == 0
    return prints("plain")


def whole_tar(root: Path) -> list[str]:
    with tarfile.open("all.tar", "w") as tar:
        add(tar, "README.md", b"nothing")
        tar.add("DIR", "set/pictures")
    return ["all.tar"]


def tar_shards(root: Path) -> list[str]:
    Path("shards").mkdir()
    for split in ("train", "val"):
        write_tars(root / "DIR" / split, root / "shards" / split)
    return ["shards"]


def tar_pattern(root: Path) -> list[str]:
    return [f"{tar_shards(root)[0]}/train-{{000..002}}.tar", "shards/val-*.tar"]


def record_shards(root: Path) -> list[str]:
    pytest.importorskip("google_crc32c", reason="needs the extra tfrecord")
    Path("shards").mkdir()
    for split in ("train", "val"):
        write_records(root / "DIR" / split, root / "shards" / split)
    return ["shards"]


def record_files(root: Path) -> list[str]:
    pytest.importorskip("google_crc32c", reason="needs the extra tfrecord")
    for split in ("train", "val"):
        (path,) = write_records(root / "DIR" / split, root / split, shards=1)
        path.rename(f"{split}.tfrecord")
    return ["train.tfrecord", "val.tfrecord"]


def url_folder(root: Path) -> list[str]:
    system = pytest.importorskip("fsspec", reason="needs the extra remote").filesystem("memory")
    for path in Path("DIR").rglob("*.jpg"):
        system.pipe(f"/packable/{path.as_posix()}", path.read_bytes())
    return ["memory://packable/DIR/"]


def url_stores(root: Path) -> list[str]:
    system = pytest.importorskip("fsspec", reason="needs the extra remote").filesystem("memory")
    for path in Path("plain").iterdir():
        system.pipe(f"/packable/{path.name}", path.read_bytes())
    return ["memory://packable/train.lmdb", "memory://packable/val.lmdb"]


@pytest.mark.parametrize(
    "make",
    [whole_tar, tar_shards, tar_pattern, record_shards, record_files, url_folder, url_stores],
    ids=lambda make: make.__name__,
)
def test_the_stores_are_those_of_the_folder(root: Path, expected: dict[str, str], make: Any) -> None:
    for source in make(root):
        assert pack(source, "out") == 0
    assert prints("out") == expected


def test_given_again_it_is_there_already(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tar_shards(root)
    assert pack("shards", "out") == 0
    capsys.readouterr()
    assert pack("shards", "out") == 0
    assert capsys.readouterr().out.count("is there already") == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("nothing-*.tar out", r"nothing-\*.tar: there is no such file"),
        ("DIR/*/cat/0.jpg out", "DIR/train/cat/0.jpg: a pattern names tar or TFRecord files .*, and that is none by its name"),
        ("x.tar.gz out", "x.tar.gz is compressed by gzip, .* gunzip x.tar.gz"),
        ("flat.tar out", "0.jpg in flat.tar has no label: neither a member .cls beside it, nor a folder for its class"),
        ("all.tar out.lmdb", r"all.tar has 2 splits \(train, val\), each of which becomes a file; name a folder"),
        ("memory://packable/nowhere out", "memory://packable/nowhere has no class folders with pictures"),
    ],
)
def test_what_cannot_be_packed(root: Path, words: str, message: str) -> None:
    whole_tar(root)
    Path("x.tar.gz").write_bytes(gzip.compress(Path("all.tar").read_bytes()))
    with tarfile.open("flat.tar", "w") as tar:
        tar.add("DIR/train/cat/0.jpg", "0.jpg")
    if "memory:" in words:
        url_folder(root)
    with pytest.raises(ConfigError, match=message):
        pack(*words.split())
    assert not list(root.glob("out*"))


def test_features_of_other_names_are_packed_by_flags(root: Path, expected: dict[str, str]) -> None:
    pytest.importorskip("google_crc32c", reason="needs the extra tfrecord")
    Path("shards").mkdir()
    for split in ("train", "val"):
        store = files(root / "DIR" / split)
        records = [
            example(left=store.get(number), right=store.get(number), animal=store.label(number) + 1, name=store.key(number))
            for number in range(len(store))
        ]
        Path(f"shards/{split}.tfrecord").write_bytes(b"".join(map(frame, records)))
    with pytest.raises(ConfigError, match=r"has no feature middle \(tfrecord.image\)"):
        targets("shards", Path("out"), "lmdb", ShardSettings(FeatureNames(image="middle")))
    assert pack("shards", "out", "--image", "left", "--label", "animal", "--file", "name", "--first", "1") == 0
    assert prints("out") == expected
