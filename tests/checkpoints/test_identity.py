"""The name under which a checkpoint keeps the fingerprint of a store stays, whatever the class is called and whatever caches it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch.utils.data import ConcatDataset, DataLoader, Subset

from accel.checkpoints.identity import as_recorded, content, differences
from accel.data.cache.caching_store import CachingStore
from accel.data.codecs.image_reader import PILLOW_READER
from accel.data.datasets.image_folder import Folder
from accel.data.remote.remote_files import RemoteFolder
from accel.data.shards.tfrecord_shards import TFRecords
from accel.data.shards.webdataset_shards import Tars
from accel.data.store import Files
from accel.data.stores.lmdb_store import LMDBStore
from accel.data.stores.raw_store import RawStore


class Mine:
    """A store without a kind."""

    encoding = "original"

    def fingerprint(self) -> str:
        return "f"


class Named(Mine):
    kind = "Pictures"


@pytest.fixture
def data(tmp_path: Path) -> Folder:
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "0.jpg").write_bytes(b"0")
    return Folder(tmp_path, ["cat"], 8)


def test_the_kinds_that_checkpoints_hold() -> None:
    kinds = [store.kind for store in (Files, LMDBStore, RawStore, Tars, TFRecords, RemoteFolder)]
    assert kinds == ["Files", "LMDBStore", "RawStore", "Tars", "TFRecords", "RemoteFolder"]


def test_a_cache_is_looked_through(data: Folder) -> None:
    plain = content(data, 1)
    assert set(plain) == {"samples", "Files"}
    assert content(data.over(CachingStore(data.store, "files", PILLOW_READER, [])), 1) == plain


@pytest.mark.parametrize(("store", "kind"), [(Mine, "Mine"), (Named, "Pictures")])
def test_a_store_of_the_users_own(data: Folder, store: Callable[[], Mine], kind: str) -> None:
    expected = {"samples": 1, kind: "f"}
    assert content(data.over(store()), 1) == expected  # type: ignore[arg-type]
    assert content(data.over(CachingStore(store(), "files", PILLOW_READER, [])), 1) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize(("fingerprint", "changed"), [("f", []), ("g", ["data.train.Files"])])
def test_a_checkpoint_of_a_cached_run_before_that(fingerprint: str, changed: list[str]) -> None:
    was, now = ({"data": {"train": {"samples": 1, kind: value}}} for kind, value in (("Keeping", "f"), ("Files", fingerprint)))
    assert list(differences(was, now)) == changed


WRAPPERS: dict[str, Callable[[Any], Any]] = {
    "bare": lambda data: data, "subset": lambda data: Subset(data, [0]), "twice": lambda data: Subset(Subset(data, [0]), [0]),
    "concatenated": lambda data: ConcatDataset([data, data]), "loader": lambda data: DataLoader(data),
    "loader of a subset": lambda data: DataLoader(Subset(data, [0])),
}  # fmt: skip


@pytest.mark.parametrize("wrap", WRAPPERS)
def test_other_data_is_noticed_whatever_lies_around_it(wrap: str, data: Folder, tmp_path: Path) -> None:
    def cached(inner: Any) -> Folder:
        return inner.over(CachingStore(inner.store, "files", PILLOW_READER, []))  # type: ignore[no-any-return]

    def changes(before: Any, after: Any) -> list[str]:
        was, now = ({"data": {"train": content(WRAPPERS[wrap](one), 1)}} for one in (before, after))
        return list(differences(was, now))

    (tmp_path / "other" / "cat").mkdir(parents=True)
    (tmp_path / "other" / "cat" / "1.jpg").write_bytes(b"01")
    other = Folder(tmp_path / "other", ["cat"], 8)
    assert changes(data, cached(data)) == changes(cached(data), data) == changes(data, data) == []
    for before in (data, cached(data)):
        for after in (other, cached(other)):
            assert changes(before, after) == ["data.train.Files"], "a cache that is switched on or off hides nothing"
    unknown = {"data": {"train": {"samples": 1}}}
    assert differences(unknown, {"data": {"train": content(WRAPPERS[wrap](data), 1)}}) == {}, "an older checkpoint kept none"


def test_of_many_files_a_cache_keeps_the_same_outline(data: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in range(1, 5):
        Path(data.store.files[0]).with_name(f"{name}.jpg").write_bytes(b"1" * name)
    monkeypatch.setattr("accel.data.store.OUTLINE_SIZES", 2)
    many = Folder(Path(data.store.files[0]).parents[1], ["cat"], 8)
    assert many.store.outline() != many.store.fingerprint()
    assert content(many.over(CachingStore(many.store, "files", PILLOW_READER, [])), 5) == content(many, 5)


def test_a_checkpoint_of_many_cached_files_from_before_is_compared_by_the_size_of_each(
    data: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their cache kept a digest of all sizes, and an outline has at most `OUTLINE_SIZES`."""
    for name in range(1, 5):
        Path(data.store.files[0]).with_name(f"{name}.jpg").write_bytes(b"1" * name)
    monkeypatch.setattr("accel.data.store.OUTLINE_SIZES", 2)
    many = Folder(Path(data.store.files[0]).parents[1], ["cat"], 8)
    for cached in (many, many.over(CachingStore(many.store, "files", PILLOW_READER, []))):
        now = {"data": {"train": content(cached, 5)}}
        for fingerprint, changed in ((many.store.fingerprint(), []), ("f", ["data.train.Files"])):
            was = {"data": {"train": {"samples": 5, "Keeping": fingerprint}}}
            assert list(differences(was, as_recorded(was, now, cached))) == changed
    for was in ({}, {"data": []}, {"data": {"train": {"samples": 5}}}, {"data": {"train": {"samples": 5, "Files": "f"}}}):
        assert as_recorded(was, now, many) is now, "only a cache kept it"


def test_other_indices_are_other_data(data: Folder) -> None:
    one, two = (content(Subset(data, indices), 1) for indices in ([0], [1]))
    assert list(differences({"data": {"train": one}}, {"data": {"train": two}})) == ["data.train.indices"]


def test_of_lists_the_entries_that_differ_are_shown() -> None:
    was = {"freeze": [{"match": ["body.*"], "until": 45}, {"match": ["head.bias"], "until": None}]}
    now = {"freeze": [{"match": ["body.*"], "until": 68}, *was["freeze"][1:]]}
    words = "was [{'match': ['body.*'], 'until': 45}] and is now [{'match': ['body.*'], 'until': 68}]"
    assert differences(was, now) == {"freeze": words}
    assert differences(was, {"freeze": was["freeze"][::-1]})["freeze"].startswith("was [{")
