from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from accel.cli.train_command import main
from accel.data.batches.bad_samples import BadSampleRule
from accel.data.batches.mapped import MapBatches
from accel.data.cache.caching_store import CachingStore
from accel.data.cache.record_cache import RecordCache
from accel.data.datasets.image_folder import AugmentedFolder, Folder
from accel.data.ranks.rank_share import SINGLE_RANK, RankShare
from accel.data.sampling import permutation
from accel.data.stores.encoding_recipe import Recipe
from accel.data.stores.formats import store_at
from accel.data.stores.packing import Packing
from accel.errors import ConfigError, TrainingError
from accel.plugins.dali import DALI
from accel.plugins.extents import Extents
from accel.system.machine import importable
from accel.tasks.images import Images
from tests.support.drawn_images import drawing

CLASSES = ["one", "two"]
there = pytest.mark.skipif(not importable("nvidia.dali"), reason="NVIDIA DALI is not installed: the extra dali")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return pictures(tmp_path / "pictures")


def pictures(folder: Path) -> Path:
    """Pictures of all kinds: JPEGs of several samplings, progressive, grey, CMYK, and PNG."""
    kinds: list[tuple[str, dict[str, Any]]] = [
        ("RGB", {"subsampling": 2}), ("RGB", {"subsampling": 0}), ("RGB", {"progressive": True}), ("L", {}), ("CMYK", {}),
        ("png", {}),
    ]  # fmt: skip
    for split in ("train", "test"):
        for number in range(12):
            mode, more = kinds[number % len(kinds)]
            place = folder / split / CLASSES[number % 2]
            place.mkdir(parents=True, exist_ok=True)
            picture = drawing(90 + 7 * number, 130 - 5 * number)
            if mode == "png":
                picture.save(place / f"{number}.png")
            else:
                picture.convert(mode).save(place / f"{number}.jpg", quality=90, **more)
    return folder


def batches(data: Folder, epoch: int = 0, start: int = 0, count: int = 2, device: str = "cpu", **more: Any) -> list[Any]:
    from accel.data.loaders.dali_pipeline import Pipeline

    return list(Pipeline(MapBatches(data, 5, 3, shuffle=True, **more), device, count, 2).epoch(epoch, start))


def psnr(one: torch.Tensor, other: torch.Tensor) -> list[float]:
    error = (one.double() - other.double()).square().flatten(1).mean(1).clamp(min=1e-9)
    return (10 * torch.log10(255**2 / error)).tolist()


@there
@pytest.mark.parametrize("crop", ["resized", "none"])
def test_order_windows_mirroring_and_labels_are_ours_and_pixels_close(root: Path, crop: Any) -> None:
    data = AugmentedFolder(root / "train", CLASSES, 32, crop, flip=True)
    plain = list(MapBatches(data, 5, 3, shuffle=True).epoch(1))
    actual = batches(data, epoch=1)
    assert [batch[1].tolist() for batch in actual] == [batch[1].tolist() for batch in plain]
    apart = [value for one, other in zip(actual, plain, strict=True) for value in psnr(one[0], other[0])]
    assert min(apart) > 45, apart
    assert np.median(apart) > 50
    assert actual[0][0].dtype == torch.uint8
    assert actual[-1][0].shape == (2, 32, 32, 3), "the last batch is short"


@there
def test_threads_and_a_later_start_change_nothing(root: Path) -> None:
    data = AugmentedFolder(root / "train", CLASSES, 32, "resized", flip=True)
    once = batches(data, count=1)
    assert all(torch.equal(one[0], other[0]) for one, other in zip(once, batches(data, count=3), strict=True))
    assert all(torch.equal(one[0], other[0]) for one, other in zip(once[1:], batches(data, start=1), strict=True))


@there
def test_a_store_of_tiles_is_shown_without_what_fills_it_up(root: Path, tmp_path: Path) -> None:
    data = AugmentedFolder(root / "train", CLASSES, 32, "resized", flip=True)
    Packing(data.store, tmp_path / "train.lmdb", Recipe("tiled")).run()  # type: ignore[arg-type]
    tiles = data.over(store_at(tmp_path / "train.lmdb"))
    plain = list(MapBatches(tiles, 5, 3, shuffle=True).epoch(0))
    assert min(value for one, other in zip(batches(tiles), plain, strict=True) for value in psnr(one[0], other[0])) > 45


@there
def test_stopping_early_and_beginning_again(root: Path) -> None:
    from accel.data.loaders.dali_pipeline import Pipeline

    pipeline = Pipeline(MapBatches(AugmentedFolder(root / "train", CLASSES, 32, "resized", True), 5, 3, shuffle=True), "cpu", 2, 2)
    first = next(whole := pipeline.epoch(0))
    whole.close()
    assert torch.equal(next(pipeline.epoch(0))[0], first[0])


@there
@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda data: data[:200] + data[-2:], lambda data: b"none"])
def test_a_bad_file_is_named(root: Path, damage: Any) -> None:
    bad = root / "train" / "one" / "0.jpg"
    bad.write_bytes(damage(bad.read_bytes()))
    with pytest.raises(ConfigError, match=f"{bad}"):
        batches(AugmentedFolder(root / "train", CLASSES, 32, "resized", True))


@there
@pytest.mark.parametrize("policy", ["skip", "substitute"])
@pytest.mark.parametrize("share", [SINGLE_RANK, RankShare(0, 2), RankShare(1, 2)])
@pytest.mark.parametrize("order", [permutation, Extents(size=3, window=2).permutation])
def test_order_share_and_bad_files_are_those_of_the_plain_loader(root: Path, policy: Any, share: RankShare, order: Any) -> None:
    from accel.data.loaders.dali_pipeline import Pipeline

    for name, content in (("one/0.jpg", b""), ("two/1.jpg", b"none"), ("one/4.jpg", (root / "train/one/4.jpg").read_bytes()[:900])):
        (root / "train" / name).write_bytes(content)
    data = AugmentedFolder(root / "train", CLASSES, 32, "resized", flip=True)
    plain, piped = (MapBatches(data, 2, 3, True, share, BadSampleRule(policy, 1.0), order) for _ in range(2))
    pipeline = Pipeline(piped, "cpu", 2, 2)
    for epoch in (0, 1):
        expected, actual = list(plain.epoch(epoch)), list(pipeline.epoch(epoch))
        assert [batch[1].tolist() for batch in actual] == [batch[1].tolist() for batch in expected]
        assert min(value for one, other in zip(actual, expected, strict=True) for value in psnr(one[0], other[0])) > 45
    assert piped.bad_sample_log.reasons == plain.bad_sample_log.reasons
    assert plain.bad_sample_log.reasons
    with pytest.raises(TrainingError, match=r"which is above bad_limit=0"):
        list(Pipeline(MapBatches(data, 2, 3, True, share, BadSampleRule(policy, 0.0), order), "cpu", 1, 2).epoch(0))


@there
def test_a_batch_of_which_nothing_is_left(root: Path) -> None:
    for file in list((root / "train" / "one").iterdir()):
        file.write_bytes(b"")
    data = Folder(root / "train", CLASSES, 32)
    plain, piped = (MapBatches(data, 2, 3, False, bad=BadSampleRule("skip", 1.0).for_dataset("val", train=False)) for _ in range(2))
    from accel.data.loaders.dali_pipeline import Pipeline

    expected, actual = list(plain.epoch(0)), list(Pipeline(piped, "cpu", 2, 2).epoch(0))
    assert [batch[1].tolist() for batch in actual] == [batch[1].tolist() for batch in expected] == [[1, 1]] * 3
    assert piped.bad_sample_log.reasons == plain.bad_sample_log.reasons
    assert len(piped.bad_sample_log.reasons) == 6


@there
def test_pixels_that_a_cache_has_kept(root: Path) -> None:
    data = AugmentedFolder(root / "train", CLASSES, 32, "resized", flip=True)
    kept = data.over(CachingStore(data.store, "pixels", data.reader, [RecordCache(12, 10**7)]))
    once, again = batches(kept), batches(kept)
    plain = list(MapBatches(data, 5, 3, shuffle=True).epoch(0))
    for actual in (once, again):
        assert min(value for one, other in zip(actual, plain, strict=True) for value in psnr(one[0], other[0])) > 45


@there
def test_damage_that_dali_finds_ends_the_run_under_every_policy(root: Path) -> None:
    bad = root / "train" / "one" / "0.jpg"
    content = bytearray(bad.read_bytes())
    start = content.index(b"\xff\xc4")  # its Huffman codes
    content[start + 5 : start + 21] = b"\xff" * 16
    bad.write_bytes(content)
    with pytest.raises(ConfigError, match="whatever bad_data says: read by threads in its place"):
        batches(AugmentedFolder(root / "train", CLASSES, 32, "resized", True), bad=BadSampleRule("skip", 1.0))


@there
def test_a_run(root: Path) -> None:
    def run() -> Any:
        plugin = DALI(threads=1)
        images = Images(root=str(root), size=32, crop="resized", plugins=[plugin], watch=(), batch_size=5, epochs=2, device="cpu")
        return images.fit().metrics, plugin

    (metrics, plugin), (again, _) = run(), run()
    assert metrics == again
    assert plugin.pipelines == {}, "closed"


@there
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"crop": "pad"}, "dali cuts boxes out of pictures, and task.crop=pad moves them; set task.crop=resized or none"),
        ({"crop": "none", "filter": "area"}, "dali resamples as task.filter=antialias does, not area"),
    ],
)
def test_what_it_refuses(root: Path, settings: dict[str, Any], message: str) -> None:
    pytest.importorskip("cv2", reason="needs the extra opencv")
    with pytest.raises(ConfigError, match=message):
        Images(root=str(root), size=32, plugins=[DALI()], watch=(), device="cpu", **settings).fit()


@pytest.mark.skipif(importable("nvidia.dali"), reason="NVIDIA DALI is installed")
def test_a_missing_package_names_the_extra(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["task=images", f"task.root={root}", "+plugins=[dali]"]) == 2
    assert "dali: needs the package nvidia.dali: pip install 'accel-train[dali]'" in capsys.readouterr().err


def test_what_it_decodes_beside_the_box_lies_inside_the_picture() -> None:
    from accel.data.loaders.dali_pipeline import picture_input

    there = picture_input(b"jpeg", (100, 60), (2.0, 0.0, 98.0, 60.0), True, 32)
    assert there.anchor.tolist() == [0, 0]
    assert there.extent.tolist() == [60, 100]
    assert there.start.tolist() == [0, 2]
    assert there.end.tolist() == [60, 98]
    inside = picture_input(b"jpeg", (100, 100), (40.0, 50.0, 60.0, 58.0), False, 32)
    assert inside.anchor.tolist() == [47, 37], "a pixel for the filter, and two"
    assert (inside.anchor + inside.start).tolist() == [50, 40]
    assert (inside.anchor + inside.end).tolist() == [58, 60]


@there
def test_what_dali_alone_cannot_read_names_the_pictures_of_its_batch(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from accel.data.loaders import dali_pipeline as dali

    data = AugmentedFolder(root / "train", CLASSES, 32, "resized", flip=True)
    monkeypatch.setattr(dali, "prepare_record", lambda record, name, limit: (b"no picture", (100, 100)))
    with pytest.raises(ConfigError, match=r"DALI cannot read a picture among .*\.(jpg|png), .* and 2 more: ."):
        batches(data)
