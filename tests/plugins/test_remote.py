"""The cache itself stands in tests/data/remote/test_block_cache.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from accel.data.store import Files
from accel.data.stores.encoding_recipe import Recipe
from accel.data.stores.packing import Packing
from accel.errors import AccelWarning, ConfigError
from accel.plugins.lmdb import LMDB
from accel.plugins.raw import Raw
from accel.plugins.remote import Remote
from accel.plugins.tfrecord import TFRecord
from accel.plugins.webdataset import WebDataset
from accel.tasks.images import Images
from accel.testing import fit_toy
from tests.support.http_server import serving
from tests.support.shard_writer import digests, draw_folder, write_records, write_tars

fsspec = pytest.importorskip("fsspec", reason="needs the extra remote")
FAR = "memory://remote/data"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of pictures here."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return draw_folder(tmp_path / "data", {"train": 6, "val": 2}, ("cat", "dog"), " a")


@pytest.fixture
def far() -> Any:
    """Puts a folder into the file system in memory."""
    system = fsspec.filesystem("memory")

    def put(folder: Path) -> str:
        for path in folder.rglob("*"):
            if path.is_file():
                system.pipe(f"/remote/data/{path.relative_to(folder).as_posix()}", path.read_bytes())
        return FAR

    yield put
    system.store.clear()
    system.pseudo_dirs.clear()


def stores(root: Path, target: Path, form: str) -> None:
    """The splits of `root` in another form."""
    target.mkdir(parents=True, exist_ok=True)
    for split in ("train", "val"):
        if form == "tar":
            write_tars(root / split, target / split)
        elif form == "tfrecord":
            write_records(root / split, target / split)
        else:
            files = Files(root / split, ["cat", "dog"])
            Packing(files, target / f"{split}.{form}", Recipe("raw" if form == "raw" else "original")).run()


FORMS = ["folder", "tar", "tfrecord", "raw", "lmdb"]


@pytest.mark.parametrize("form", FORMS)
def test_the_batches_are_those_of_the_folder(root: Path, tmp_path: Path, far: Any, form: str) -> None:
    if form == "lmdb":
        pytest.importorskip("lmdb", reason="needs the extra lmdb")
    if form != "folder":
        stores(root, tmp_path / form, form)
    url = far(root if form == "folder" else tmp_path / form)
    plugin = Remote(path=url)
    plugin.setup(None)  # type: ignore[arg-type]
    for split in ("train", "val"):
        expected = digests(Images(root=str(root), size=16, crop="resized").data(split), split == "train")
        assert digests(Images(root=url, size=16, crop="resized").data(split), split == "train") == expected, "as task.root"
        near = Images(root=str(root), size=16, crop="resized").data(split)
        assert digests(plugin.open(near, split), split == "train") == expected, "by the plugin"


@pytest.mark.parametrize(("plugin", "form"), [(WebDataset, "tar"), (TFRecord, "tfrecord"), (Raw, "raw"), (LMDB, "lmdb")])
def test_the_paths_of_other_sources_may_be_urls(root: Path, tmp_path: Path, far: Any, plugin: Any, form: str) -> None:
    if form == "lmdb":
        pytest.importorskip("lmdb", reason="needs the extra lmdb")
    stores(root, tmp_path / form, form)
    url = far(tmp_path / form)
    data = Images(root=str(root), size=16).data("train")
    for path in (url, f"{url}/", *([f"{url}/SPLIT*{form}*"] if form in ("tar", "tfrecord") else [])):
        source = plugin(path=path)
        source.setup(None)
        assert digests(source.open(data, "train"), True) == digests(data, True)


def test_the_run_is_that_of_the_folder(root: Path, tmp_path: Path, far: Any) -> None:
    def fit(root: str, *plugins: Any) -> Any:
        return Images(root=root, size=16, plugins=plugins, watch=(), batch_size=4, device="cpu").fit()

    plugin = Remote(cache=str(tmp_path / "kept"), budget_gb=0.01)
    plain, read = fit(str(root)), fit(far(root), plugin)
    assert plain.metrics == read.metrics
    assert all(torch.equal(a, b) for a, b in zip(plain.model.parameters(), read.model.parameters(), strict=True))
    assert plugin.plan_notes()["train store"].startswith("12 pictures, 0.0 MB at memory://")
    assert len(list((tmp_path / "kept").glob("??/*.0"))) == 16


@pytest.mark.parametrize("form", ["folder", "tar"])
def test_over_http(root: Path, tmp_path: Path, form: str) -> None:
    pytest.importorskip("aiohttp", reason="needs the extra remote")
    if form == "tar":
        stores(root, tmp_path / form, form)
    with serving(root if form == "folder" else tmp_path / form) as server:
        data = Images(root=server.url, size=16).data("train")
        expected = digests(Images(root=str(root), size=16).data("train"), True)
        assert digests(data, True) == expected
        files = [path for path in server.asked if path.endswith((".png", ".jpg", ".tar"))]
        assert len(files) == len(set(files)), "each was fetched once"
    if form == "tar":
        assert digests(data, True) == expected, "with the server gone"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "remote.path=auto: the data is at no URL; say s3://bucket/data"),
        ({"path": "some/folder"}, "remote.path=some/folder: that is no URL"),
        ({"path": "memory://remote/nothing"}, "remote: there is no train at memory://remote/nothing: neither train/<class>/"),
        ({"budget_gb": 0.001}, r"the cache of remote files takes 0.008\d* GB or more, and not 0.001"),
    ],
)
def test_what_cannot_work(root: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Images(root=str(root), size=16, plugins=[Remote(**settings)], watch=(), device="cpu").fit()


def test_a_url_without_pictures(far: Any, tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "notes.txt").write_text("nothing")
    with pytest.raises(ConfigError, match=r"task.root=memory://remote/data has no folder train; .*or in train.lmdb, train.raw"):
        Images(root=far(tmp_path))
    with pytest.raises(ConfigError, match=r"task.root=memory://elsewhere has no folder train"):
        Images(root="memory://elsewhere")


def test_data_that_reads_from_no_store() -> None:
    with pytest.warns(AccelWarning, match="remote has no effect: the data is a TensorDataset"):
        fit_toy([Remote()])
