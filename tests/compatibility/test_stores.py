"""Stores, unfinished stores and the names of caches that accel wrote before its files were moved and its classes renamed."""

from __future__ import annotations

import re
from hashlib import sha256
from pathlib import Path

import pytest

from accel import ConfigError, compose
from accel.__main__ import main as command
from accel.cli.train_command import main
from tests.compatibility.unpacked import QUICK, expected

EXPECTED = expected()


@pytest.fixture(autouse=True)
def needed() -> None:
    """The packages of pictures and stores."""
    pytest.importorskip("PIL.Image", reason="the pictures need the extra images")
    pytest.importorskip("lmdb", reason="needs the extra lmdb")


def test_every_store_is_sound_and_known_as_what_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    stores = sorted(Path("stores").iterdir())
    assert {store.name for store in stores} == EXPECTED["stores"].keys()
    assert command(["pack", "--check", *map(str, stores), "pictures", "packed"]) == 0
    assert capsys.readouterr().out.count("sound") == 2 * len(stores) + 6
    for store in stores:
        assert command(["pack", "few", str(store), *EXPECTED["stores"][store.name], "--workers", "1"]) == 0
        assert capsys.readouterr().out.count("is there already") == 2, "and would be the same now"


@pytest.mark.parametrize("name", EXPECTED["stores"])
def test_the_pictures_of_a_store_are_those_of_the_folder(name: str) -> None:
    words = ["task=images", "task.size=16", "task.model=mine.Net", "task.crop=none", "task.flip=false"]
    store, files = (compose([*words, f"task.root={root}"]).trainer().data("train") for root in (f"stores/{name}", "few"))
    assert len(store) == len(files) == 4
    for (picture, label), (other, wanted) in zip((store[n] for n in range(4)), (files[n] for n in range(4)), strict=True):
        far = (picture.float() - other.float()).abs().mean()
        assert label == wanted
        assert far <= (0 if name in ("original", "tiled-lossless", "bmp", "pixels", "raw") else 8)


@pytest.mark.parametrize("kind", ["lmdb", "raw"])
def test_packing_goes_on(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["pack", "flawed", "unfinished", "--format", kind, "--workers", "1"]
    with pytest.raises(ConfigError, match=r"03\.jpg"):
        command(words)
    assert command([*words, "--on-error", "skip"]) == 0
    counts = re.findall(rf"going on with train.{kind}: (\d+) records are there already", capsys.readouterr().out)
    assert counts == ["15", "15"]
    assert command(["pack", "--check", f"unfinished/train.{kind}", f"unfinished/val.{kind}"]) == 0


def test_a_cache_of_a_folder_has_the_name_that_it_always_had() -> None:
    """Files elsewhere have another; so the name is made here from what it is a function of."""
    words = ["task=images", "task.root=pictures", "task.size=16", "task.model=mine.Net", "epochs=1", *QUICK, "out=one"]
    assert main([*words, "+plugins=[cache]", "plugins.cache.memory=0", "plugins.cache.path=names"]) == 0
    files = sorted(Path("pictures/train").rglob("*.jpg"))
    content = sha256(b"cat\ndog")
    for file in files:
        content.update(f"\0{file.relative_to('pictures/train')}\0{file.stat().st_size}".encode())
    packages = ", ".join(f"{name} {number}" for name, number in list(EXPECTED["versions"].items())[2:] if number)
    reader = f"Reader(decoder='pillow', filter='antialias'), at most 178956970 pixels, {packages}"
    of = sha256(f"2 16 1.0 {reader} {content.hexdigest()} {[0] * 12 + [1] * 12}".encode())
    for file in files:
        facts = file.stat()
        of.update(f"\0{file}\0{facts.st_mtime_ns}\0{facts.st_ctime_ns}".encode())
    name = sha256(f"train shown {of.hexdigest()}".encode()).hexdigest()[:32]
    assert Path("names/pictures", f"train-shown-{name}.kept").exists()
