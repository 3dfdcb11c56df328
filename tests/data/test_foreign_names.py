"""Names that are no UTF-8: a run, its plan, its stores and its digests have them as any other."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from accel import __main__
from accel.data.shards.webdataset_shards import Tars
from accel.data.store import Files, class_names
from accel.data.stores.formats import store_at
from accel.data.stores.pack_journal import picture_stamps
from accel.plugins.lmdb import LMDB
from accel.plugins.raw import Raw
from accel.plugins.resident import Resident
from accel.plugins.webdataset import WebDataset
from accel.plugins.workers import Workers
from accel.tasks.images import Images
from tests.support.odd_folder import encoded, tar_folder

NAME = b"caf\xe9"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two classes, one of which has a name in Latin-1, as its files and a file beside them."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    for split in (b"train", b"val"):
        for name in (NAME, b"dog"):
            os.makedirs(b"set/" + split + b"/" + name)
            for number in range(3):
                Path(os.fsdecode(b"set/%s/%s/%d\xff.png" % (split, name, number))).write_bytes(encoded(".png", 9 * number))
        Path(os.fsdecode(b"set/" + split + b"/\xfe.txt")).write_bytes(b"")
    return tmp_path / "set"


def fit(*plugins: Any, **more: Any) -> Any:
    return Images(root="set", size=8, batch_size=3, device="cpu", watch=(), seed=1, plugins=list(plugins), **more).fit()


def test_a_run_writes_its_plan_and_goes_on(root: Path) -> None:
    assert fit(out="run").samples == 6
    plan = json.loads(Path("run/plan.json").read_text())
    assert plan["facts"]["passed over"] == "1 in no class folder (\udcfe.txt)"
    assert fit(out="run", resume="run", epochs=2).samples == 12
    assert fit(Resident(cache="kept")).samples == 6


@pytest.mark.parametrize("plugin", [Workers, WebDataset, LMDB, Raw])
def test_every_store_is_the_folder(root: Path, plugin: Any) -> None:
    for split in ("train", "val"):
        tar_folder(root / split, root / f"{split}.tar")
    for format in ("raw", *(["lmdb"] * (plugin is LMDB))):
        if format == "lmdb":
            pytest.importorskip("lmdb", reason="needs the extra lmdb")
        assert __main__.main(["pack", "set", "set", "--format", format, "--workers", "1"]) == 0
        assert __main__.main(["pack", "--check", "set"]) == 0
    assert fit(plugin()).metrics == fit().metrics


def test_digests_and_names_in_every_store(root: Path) -> None:
    files = Files(root / "train", class_names(root / "train"))
    tars = Tars([str(tar_folder(root / "train", root / "x.tar"))])
    assert __main__.main(["pack", "set/train", "set/x.raw", "--format", "raw", "--workers", "1"]) == 0
    stores: list[Any] = [files, tars, store_at(root / "x.raw")]
    for store in stores:
        assert store.classes == [os.fsdecode(NAME), "dog"]
        assert store.key(0) == os.fsdecode(NAME + b"/0\xff.png")
        assert store.fingerprint()
        assert picture_stamps(store)
    assert files.outline()
    assert stores[2].info.source == files.fingerprint()
