"""The name under which a checkpoint keeps the fingerprint of a store stays, whatever the class is called and whatever caches it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from accel.checkpoints.identity import content, differences
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
