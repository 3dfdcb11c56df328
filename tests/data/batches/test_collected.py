"""What is read a batch at a time is what is read one by one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from accel.data import Ring
from accel.data.batches.bad_samples import RAISE, BadSampleRule
from accel.data.batches.make_batches import make_batches
from accel.data.batches.mapped import MapBatches
from accel.data.codecs.image_reader import ImageReader
from accel.data.datasets.image_folder import AugmentedFolder, Folder
from accel.data.loaders import load_all
from accel.data.loaders.device_batches import DeviceBatches
from accel.data.loaders.thread_pool import ThreadPool
from accel.data.loaders.worker_pool import WorkerPool
from accel.data.ranks.rank_share import SINGLE_RANK, RankShare
from accel.data.store import Files
from accel.data.stores.encoding_recipe import Recipe
from accel.data.stores.packing import Packing
from accel.data.stores.raw_store import RawStore
from accel.data.stores.record_format import HEAD
from accel.errors import ConfigError
from tests.support.sample_datasets import md5

CLASSES = ["one", "two"]


def packed(folder: Path, sizes: list[tuple[int, int]]) -> RawStore:
    rng = np.random.default_rng(0)
    for number, (width, height) in enumerate(sizes):
        place = folder / "pictures" / CLASSES[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(256, size=(height, width, 3), dtype=np.uint8)).save(place / f"{number}.png")
    Packing(Files(folder / "pictures", CLASSES), folder / "train.raw", Recipe("raw")).run()
    return RawStore(folder / "train.raw")


@pytest.mark.parametrize("reader", [ImageReader(), ImageReader("opencv", "linear")])
@pytest.mark.parametrize(("crop", "flip"), [("pad", True), ("pad", False), ("none", True), ("none", False)])
@pytest.mark.parametrize("side", [16, 7])
def test_batches_are_those_of_the_plain_loader(tmp_path: Path, side: int, reader: ImageReader, crop: Any, flip: bool) -> None:
    store = packed(tmp_path, [(side, side)] * 22)
    data = AugmentedFolder(tmp_path / "pictures", CLASSES, side, crop, flip, reader).over(store)
    assert data.can_fill_all
    plain = make_batches(data, 4, seed=3, shuffle=True)
    with Ring(data, 4, seed=3, shuffle=True, threads=2) as ring:
        for epoch in (0, 1):
            assert md5(ring.epoch(epoch)) == md5(plain.epoch(epoch))


def test_resident_reads_it_at_once_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = packed(tmp_path, [(16, 16)] * 22)
    data = AugmentedFolder(tmp_path / "pictures", CLASSES, 16, "pad", True).over(store)
    example, _ = load_all.first_sample(data)
    actual, _, _ = load_all.load_samples(data, example)
    assert torch.equal(actual[0], torch.stack([data[index][0] for index in range(22)]))
    assert actual[1].tolist() == data.labels
    monkeypatch.setattr(Folder, "__getitem__", lambda self, index: pytest.fail("one by one"))
    assert all(map(torch.equal, load_all.load_samples(data, example)[0], actual))


def test_evaluation(tmp_path: Path) -> None:
    store = packed(tmp_path, [(16, 16)] * 6)
    data = Folder(tmp_path / "pictures", CLASSES, 16).over(store)
    assert data.can_fill_all
    with Ring(data, 4, threads=1) as ring:
        assert md5(ring.epoch(0)) == md5(make_batches(data, 4).epoch(0))


def test_what_cannot_be_read_at_once(tmp_path: Path) -> None:
    store = packed(tmp_path, [(16, 16)] * 6)
    folder = tmp_path / "pictures"
    assert not AugmentedFolder(folder, CLASSES, 16, "resized", True).over(store).can_fill_all
    assert not AugmentedFolder(folder, CLASSES, 8, "pad", True).over(store).can_fill_all
    assert not Folder(folder, CLASSES, 16, 0.875).over(store).can_fill_all
    assert not Folder(folder, CLASSES, 16).can_fill_all
    assert packed(tmp_path / "uneven", [(16, 16), (16, 18)]).size is None


def test_other_shapes_of_as_many_pixels_are_read_one_by_one(tmp_path: Path) -> None:
    store = packed(tmp_path, [(16, 16), (8, 32), (16, 16), (32, 8)])
    data = AugmentedFolder(tmp_path / "pictures", CLASSES, 16, "pad", True).over(store)
    assert data.can_fill_all
    with Ring(data, 2, threads=1) as ring:
        assert md5(ring.epoch(0)) == md5(make_batches(data, 2).epoch(0))


def damaged(folder: Path, count: int, *records: int) -> AugmentedFolder:
    store = packed(folder, [(16, 16)] * count)
    starts = [int(store.index.offsets[record]) for record in records]
    store.close()
    with open(folder / "train.raw", "r+b") as file:
        for start in starts:
            file.seek(start + HEAD.size + 5)
            file.write(b"\x00\x01\x02")
    return AugmentedFolder(folder / "pictures", CLASSES, 16, "pad", True).over(RawStore(folder / "train.raw"))


def mapped(data: Any, share: RankShare = SINGLE_RANK, rule: BadSampleRule = RAISE) -> MapBatches:
    batches = make_batches(data, 4, 3, True, share, rule)
    assert isinstance(batches, MapBatches)
    return batches


@pytest.mark.parametrize("share", [SINGLE_RANK, RankShare(0, 2), RankShare(1, 2)])
@pytest.mark.parametrize("policy", ["skip", "substitute"])
def test_damaged_records_have_the_same_fate_by_every_loader(tmp_path: Path, policy: Any, share: RankShare) -> None:
    data, rule = damaged(tmp_path, 22, 3, 4, 17), BadSampleRule(policy, 1.0)
    plain = mapped(data, share, rule)
    wanted = [md5(plain.epoch(epoch)) for epoch in (0, 1)]
    assert plain.bad_sample_log.reasons
    pool = ThreadPool(2)
    with Ring.from_batches(batches := mapped(data, share, rule), pool, 2, False) as ring:
        assert [md5(ring.epoch(epoch)) for epoch in (0, 1)] == wanted
        assert batches.bad_sample_log.reasons == plain.bad_sample_log.reasons
    for count in (1, 3):
        workers = WorkerPool([batches := mapped(data, share, rule)], count, 2, 60.0)
        assert [md5(workers.batches(0, epoch, 0)) for epoch in (0, 1)] == wanted
        assert batches.bad_sample_log.reasons == plain.bad_sample_log.reasons
        workers.close()
    example, form = load_all.first_sample(data, rule)
    parts, bad, _ = load_all.load_samples(data, example, rule)
    assert [sample for sample, _ in bad] == [3, 4, 17]
    shelf = DeviceBatches(parts, form, data.moves(), 4, 3, True, torch.device("cpu"), share, rule, bad)
    assert [md5(shelf.epoch(epoch)) for epoch in (0, 1)] == wanted


@pytest.mark.parametrize("start", ["fork", "spawn"])
@pytest.mark.slow
def test_workers_read_at_once_too(tmp_path: Path, start: str, monkeypatch: pytest.MonkeyPatch, forked_commands: None) -> None:
    store = packed(tmp_path, [(16, 16)] * 22)
    data = AugmentedFolder(tmp_path / "pictures", CLASSES, 16, "pad", True).over(store)
    wanted = [md5(mapped(data).epoch(epoch)) for epoch in (0, 1)]
    monkeypatch.setattr(AugmentedFolder, "fill", lambda *_: pytest.fail("one by one"))  # which a fork copies
    workers = WorkerPool([mapped(data)], 1 if start == "spawn" else 2, 2, 60.0, start)
    assert [md5(workers.batches(0, epoch, 0)) for epoch in (0, 1)] == wanted
    workers.close()


def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    data = damaged(tmp_path, 6, 3)
    workers = WorkerPool([mapped(data)], 1, 2, 60.0)
    with pytest.raises(ConfigError, match="damaged: its crc32 differs") as raised:
        list(workers.batches(0, 0, 0))
    assert "sample 3 " in raised.value.__notes__[0]
    workers.close()
    with Ring(data, 2, threads=2) as ring, pytest.raises(ConfigError, match="damaged: its crc32 differs") as raised:
        list(ring.epoch(0))
    assert "sample 3 " in raised.value.__notes__[0]
