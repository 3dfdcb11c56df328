"""What is read a batch at a time is what is read one by one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from accel.data import Ring, whole
from accel.data.batches import Batches
from accel.data.folder import Augmented, Folder
from accel.data.reader import Reader
from accel.data.store import Files
from accel.data.stores.pack import Packing
from accel.data.stores.raw_store import RawStore
from accel.data.stores.recipe import Recipe
from accel.data.stores.record import HEAD
from accel.errors import ConfigError
from tests.readable import md5

CLASSES = ["one", "two"]


def packed(folder: Path, sizes: list[tuple[int, int]]) -> RawStore:
    rng = np.random.default_rng(0)
    for number, (width, height) in enumerate(sizes):
        place = folder / "pictures" / CLASSES[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(256, size=(height, width, 3), dtype=np.uint8)).save(place / f"{number}.png")
    Packing(Files(folder / "pictures", CLASSES), folder / "train.raw", Recipe("raw")).run()
    return RawStore(folder / "train.raw")


@pytest.mark.parametrize("reader", [Reader(), Reader("opencv", "linear")])
@pytest.mark.parametrize(("crop", "flip"), [("pad", True), ("pad", False), ("none", True), ("none", False)])
def test_batches_are_those_of_the_plain_loader(tmp_path: Path, reader: Reader, crop: Any, flip: bool) -> None:
    store = packed(tmp_path, [(16, 16)] * 22)
    data = Augmented(tmp_path / "pictures", CLASSES, 16, crop, flip, reader).over(store)
    assert data.at_once
    plain = Batches.over(data, 4, seed=3, shuffle=True)
    with Ring(data, 4, seed=3, shuffle=True, threads=2) as ring:
        for epoch in (0, 1):
            assert md5(ring.epoch(epoch)) == md5(plain.epoch(epoch))


def test_resident_reads_it_at_once_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = packed(tmp_path, [(16, 16)] * 22)
    data = Augmented(tmp_path / "pictures", CLASSES, 16, "pad", True).over(store)
    example, _ = whole.first(data)
    found = whole.read(data, example)
    assert torch.equal(found[0], torch.stack([data[index][0] for index in range(22)]))
    assert found[1].tolist() == data.labels
    monkeypatch.setattr(Folder, "__getitem__", lambda self, index: pytest.fail("one by one"))
    assert all(map(torch.equal, whole.read(data, example), found))


def test_evaluation(tmp_path: Path) -> None:
    store = packed(tmp_path, [(16, 16)] * 6)
    data = Folder(tmp_path / "pictures", CLASSES, 16).over(store)
    assert data.at_once
    with Ring(data, 4, threads=1) as ring:
        assert md5(ring.epoch(0)) == md5(Batches.over(data, 4).epoch(0))


def test_what_cannot_be_read_at_once(tmp_path: Path) -> None:
    store = packed(tmp_path, [(16, 16)] * 6)
    folder = tmp_path / "pictures"
    assert not Augmented(folder, CLASSES, 16, "resized", True).over(store).at_once
    assert not Augmented(folder, CLASSES, 8, "pad", True).over(store).at_once
    assert not Folder(folder, CLASSES, 16, 0.875).over(store).at_once
    assert not Folder(folder, CLASSES, 16).at_once
    assert packed(tmp_path / "uneven", [(16, 16), (16, 18)]).size is None


def test_other_shapes_of_as_many_pixels_are_read_one_by_one(tmp_path: Path) -> None:
    store = packed(tmp_path, [(16, 16), (8, 32), (16, 16), (32, 8)])
    data = Augmented(tmp_path / "pictures", CLASSES, 16, "pad", True).over(store)
    assert data.at_once
    with Ring(data, 2, threads=1) as ring:
        assert md5(ring.epoch(0)) == md5(Batches.over(data, 2).epoch(0))


def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    store = packed(tmp_path, [(16, 16)] * 6)
    start = int(store.index.offsets[3])
    store.close()
    with open(tmp_path / "train.raw", "r+b") as file:
        file.seek(start + HEAD.size + 5)
        file.write(b"\x00\x01\x02")
    data = Augmented(tmp_path / "pictures", CLASSES, 16, "pad", True).over(RawStore(tmp_path / "train.raw"))
    with Ring(data, 2, threads=2) as ring, pytest.raises(ConfigError, match="damaged: its crc32 differs") as found:
        list(ring.epoch(0))
    assert "sample 3 " in found.value.__notes__[0]
