from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from accel.data.store import Files, class_names
from accel.data.stores.encoding_recipe import Recipe
from accel.data.stores.packing import Packing
from accel.errors import AccelWarning, ConfigError
from accel.plugins.lmdb import LMDB
from accel.plugins.raw import Raw
from accel.tasks.images import Images
from accel.testing import fit_toy
from tests.support.shard_writer import digests

pytest.importorskip("lmdb", reason="needs the extra lmdb")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder of pictures of several formats and sizes."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 9), ("test", 4)):
        for name in ("cat", "dog"):
            (tmp_path / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(256, size=(20 + 3 * number, 24, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / split / name / f"{number}.{('png', 'jpg')[number % 2]}")
    return tmp_path


def pack(root: Path, target: Path, format: str = "lmdb", **recipe: Any) -> None:
    for split in ("train", "test"):
        files = Files(root / split, class_names(root / split))
        Packing(files, target / f"{split}.{format}", Recipe(**recipe)).run()


def fit(root: Path, *plugins: Any, **settings: Any) -> Any:
    return Images(root=str(root), size=16, plugins=plugins, watch=(), epochs=2, batch_size=4, device="cpu", **settings).fit()


@pytest.mark.parametrize("crop", ["pad", "resized", "none"])
@pytest.mark.parametrize(("plugin", "format", "encoding"), [(LMDB, "lmdb", "original"), (LMDB, "lmdb", "bmp"), (Raw, "raw", "raw")])
def test_the_batches_are_those_of_the_folder(root: Path, crop: Any, plugin: Any, format: str, encoding: str) -> None:
    pack(root, root, format, encoding=encoding)
    task = Images(root=str(root), size=16, crop=crop)
    source = plugin()
    source.setup(None)
    for split in ("train", "test"):
        data = task.data(split)
        assert digests(source.open(data, split), split == "train") == digests(data, split == "train")


@pytest.mark.parametrize(("plugin", "format", "encoding"), [(LMDB, "lmdb", "original"), (Raw, "raw", "raw")])
def test_the_run_is_that_of_the_folder(root: Path, tmp_path: Path, plugin: Any, format: str, encoding: str) -> None:
    pack(root, tmp_path / "stores", format, encoding=encoding)
    plain = fit(root)
    stored = fit(root, plugin(path=str(tmp_path / "stores")))
    assert plain.metrics == stored.metrics
    weights = zip(plain.model.parameters(), stored.model.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in weights)


def test_the_plan_says_what_is_read(root: Path, tmp_path: Path) -> None:
    pack(root, tmp_path / "small", encoding="jpeg", short_side=16, quality=80)
    plugin = LMDB(path=str(tmp_path / "small"))
    fit(root, plugin)
    text = plugin.plan_notes()["train store"]
    assert text.startswith("18 records, jpeg, 0.0 MB in ")
    assert (
        "other pictures than the files: shrunk to a shorter side of at most 16 pixels, encoded anew as JPEG of quality 80" in text
    )
    assert "test store" in plugin.plan_notes()


def test_pictures_left_out_at_packing_are_left_out(root: Path) -> None:
    (root / "train" / "cat" / "3.jpg").write_bytes(b"")
    for split in ("train", "test"):
        Packing(Files(root / split, ["cat", "dog"]), root / f"{split}.lmdb", Recipe(), skip=True).run()
    plugin = LMDB()
    assert fit(root, plugin).samples == 2 * 17
    assert "1 that could not be read were left out" in plugin.plan_notes()["train store"]


def other_classes(root: Path) -> None:
    for split in ("train", "test"):
        (root / split / "cat").rename(root / split / "cow")


def one_more(root: Path) -> None:
    Image.new("RGB", (9, 9)).save(root / "train" / "cat" / "9.png")


def another_name(root: Path) -> None:
    (root / "train" / "dog" / "2.png").rename(root / "train" / "dog" / "2a.png")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            other_classes,
            r"the store .*train.lmdb has the classes cat, dog, and .*train has cow, dog; pack the data set",
        ),
        (one_more, r"the store .*train.lmdb has 18 pictures, and .*train has 19"),
        (another_name, r"record 11 of the store .*train.lmdb is dog/2.png, and in .*train it is dog/2a.png"),
    ],
)
def test_a_store_of_another_data_set_is_refused(root: Path, change: Any, message: str) -> None:
    pack(root, root)
    change(root)
    with pytest.raises(ConfigError, match=message):
        fit(root, LMDB())


def test_a_store_that_is_not_there(root: Path) -> None:
    make = rf"make it with: python -m accel pack {root} {root} --format lmdb, or say where it is with lmdb.path=DIR"
    with pytest.raises(ConfigError, match=make):
        fit(root, LMDB())
    with pytest.raises(ConfigError, match=r"lmdb: there is no elsewhere/train.lmdb; make it with"):
        fit(root, LMDB(path="elsewhere"))


def test_a_damaged_record_ends_the_run_by_name(root: Path) -> None:
    pack(root, root, encoding="bmp")
    data = bytearray((root / "train.lmdb").read_bytes())
    store = Files(root / "train", ["cat", "dog"])
    at = data.index(
        Image.open(store.files[4]).convert("RGB").tobytes("raw", "BGR")[-24 * 3 :][:24]
    )  # in the last row, stored first
    data[at] ^= 1
    (root / "train.lmdb").write_bytes(data)
    with pytest.raises(ConfigError, match=r"cat/4.png \(record 4 of .*train.lmdb\) is damaged"):
        fit(root, LMDB())


def test_data_that_reads_from_no_store() -> None:
    with pytest.warns(AccelWarning, match="lmdb has no effect: the data is a TensorDataset, which reads from no store"):
        fit_toy([LMDB()])
