"""task=images from stores and shards alone, with no class folders."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from accel.data.store import Files
from accel.data.stores.encoding_recipe import Recipe
from accel.data.stores.packing import Packing
from accel.errors import ConfigError
from accel.plugins.lmdb import LMDB
from accel.tasks.images import Images
from tests.support.shard_writer import write_records, write_tars


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def make(root: Path, target: Path, form: str, split: str) -> None:
    target.mkdir(exist_ok=True)
    if form == "tar":
        write_tars(root / split, target / split)
    elif form == "tars inside":
        (target / split).mkdir()
        write_tars(root / split, target / split / "shard")
    elif form == "numbered tar":
        write_tars(root / split, target / split, named=False)
    elif form == "tfrecord":
        pytest.importorskip("google_crc32c", reason="needs the extra tfrecord")
        write_records(root / split, target / split)
    else:
        Packing(
            Files(root / split, ["cat", "dog"]), target / f"{split}.{form}", Recipe("raw" if form == "raw" else "original")
        ).run()


def fit(root: Path, *plugins: Any) -> Any:
    return Images(root=str(root), size=16, plugins=plugins, watch=(), batch_size=4, device="cpu").fit()


@pytest.mark.parametrize("form", ["lmdb", "raw", "tar", "tars inside", "numbered tar", "tfrecord"])
def test_the_run_is_that_of_the_folder(pictures: Path, tmp_path: Path, form: str) -> None:
    if form == "lmdb":
        pytest.importorskip("lmdb", reason="needs the extra lmdb")
    for split in ("train", "test"):
        make(pictures, tmp_path / "alone", form, split)
    plain, alone = fit(pictures), fit(tmp_path / "alone")
    assert plain.metrics == alone.metrics
    assert all(torch.equal(a, b) for a, b in zip(plain.model.parameters(), alone.model.parameters(), strict=True))


def test_each_split_may_have_another_form_and_the_plan_says_which(pictures: Path, tmp_path: Path) -> None:
    make(pictures, tmp_path / "alone", "tar", "train")
    shutil.copytree(pictures / "test", tmp_path / "alone" / "test")
    task = Images(root=str(tmp_path / "alone"), size=16)
    assert task.data("train").plan_notes()["store"].startswith("17 pictures, 0.0 MB in 3 files, ")
    assert "store" not in task.data("test").plan_notes()
    assert task.classes == ["cat", "dog"]


def test_a_plugin_finds_its_store_beside_the_one_that_is_read(pictures: Path, tmp_path: Path) -> None:
    pytest.importorskip("lmdb", reason="needs the extra lmdb")
    for split in ("train", "test"):
        make(pictures, tmp_path / "alone", "lmdb", split)
    plugin = LMDB()
    assert fit(tmp_path / "alone", plugin).metrics == fit(pictures).metrics
    assert plugin.plan_notes()["train store"].startswith("17 records")


def test_class_folders_go_before_stores(pictures: Path, tmp_path: Path) -> None:
    make(pictures, pictures, "tar", "train")
    assert isinstance(Images(root=str(pictures)).data("train").store, Files)


def test_numbers_of_classes_that_a_split_lacks(pictures: Path, tmp_path: Path) -> None:
    shutil.rmtree(pictures / "test" / "dog")
    for split in ("train", "test"):
        make(pictures, tmp_path / "alone", "numbered tar", split)
    task = Images(root=str(tmp_path / "alone"), size=16)
    assert task.classes == ["0", "1"]
    assert len(task.data("test")) == 3


def one_class(pictures: Path, alone: Path) -> None:
    shutil.rmtree(pictures / "train" / "dog")
    make(pictures, alone, "tar", "train")
    make(pictures, alone, "tar", "test")


def other_classes(pictures: Path, alone: Path) -> None:
    make(pictures, alone, "tar", "train")
    (pictures / "test" / "cow").mkdir()
    Image.new("RGB", (9, 9)).save(pictures / "test" / "cow" / "1.png")
    make(pictures, alone, "tar", "test")


def no_evaluation(pictures: Path, alone: Path) -> None:
    make(pictures, alone, "tar", "train")


def cut_short(pictures: Path, alone: Path) -> None:
    for split in ("train", "test"):
        make(pictures, alone, "raw", split)
    (alone / "train.raw").write_bytes((alone / "train.raw").read_bytes()[:-9])


def nothing(pictures: Path, alone: Path) -> None:
    alone.mkdir()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (one_class, r"alone/train has 1 class; it takes two or more"),
        (other_classes, r"the class cow is in test alone; all splits must have the same classes"),
        (no_evaluation, r"has no folder val or test; its pictures belong in test/<class>/ \(or in test.lmdb, test.raw, test\*.tar"),
        (cut_short, r"train.raw is cut short"),
        (nothing, r"has no folder train; its pictures belong in train/<class>/ \(or in train.lmdb"),
    ],
)
def test_what_cannot_work(pictures: Path, tmp_path: Path, change: Any, message: str) -> None:
    change(pictures, tmp_path / "alone")
    with pytest.raises(ConfigError, match=message):
        Images(root=str(tmp_path / "alone"))
