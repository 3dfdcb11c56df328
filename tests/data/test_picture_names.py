"""One rule says which files are samples: for a folder, a tar, a URL and packing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from accel import __main__
from accel.data.datasets.image_folder import Folder
from accel.data.picture_names import MAX_REASONS, SUFFIXES, PassedOver, is_picture, reason_to_pass
from accel.data.shards.webdataset_shards import Tars
from accel.data.store import Files, Store, class_names
from accel.data.stores.formats import store_at
from accel.tasks.images import Images
from tests.support.odd_folder import HIDDEN, OTHERS, encoded, tar_folder, write_odd_folder


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "data"


def keys(store: Any) -> list[str]:
    return [store.key(number) for number in range(len(store))]


def opened(form: str, folder: Path) -> Any:
    if form == "folder":
        return Files(folder, class_names(folder))
    if form == "tar":
        return Tars([str(tar_folder(folder, folder.parent / "x.tar"))])
    fsspec = pytest.importorskip("fsspec", reason="needs the extra remote")
    from accel.data.remote.block_cache import BlockCache
    from accel.data.remote.remote_files import RemoteFolder

    system = fsspec.filesystem("memory")
    for path in folder.rglob("*"):
        if path.is_file():
            system.pipe(f"/odd/train/{path.relative_to(folder).as_posix()}", path.read_bytes())
    return RemoteFolder("memory://odd/train", BlockCache())


FORMS: Any = pytest.mark.parametrize("form", ["folder", "tar", "url"])


@FORMS
def test_the_samples_are_the_same_in_every_form(root: Path, form: str) -> None:
    expected = write_odd_folder(root / "train")
    store = opened(form, root / "train")
    assert keys(store) == expected
    assert store.classes == ["cat", "dog"]
    assert [store.label(number) for number in range(len(store))] == [int(key.startswith("dog")) for key in expected]
    assert [store.get(number) for number in range(len(store))] == [(root / "train" / key).read_bytes() for key in expected]
    assert store.fingerprint() == Files(root / "train", ["cat", "dog"]).fingerprint() or form == "tar"


@FORMS
def test_what_is_passed_over_is_counted_with_an_example(root: Path, form: str) -> None:
    write_odd_folder(root / "train")
    passed_over = opened(form, root / "train").passed_over
    counts = {reason: count for reason, (count, _) in passed_over.counts.items()}
    assert {reason: counts[reason] for reason in (".txt", ".part", ".csv", "without a suffix", ".heic")} == dict.fromkeys(
        (".txt", ".part", ".csv", "without a suffix", ".heic"), 1
    )
    examples = {reason: example for reason, (_, example) in passed_over.counts.items()}
    assert examples[".csv"] == "dog/labels.csv"
    assert all(reason_to_pass(key) for key in (*HIDDEN, *OTHERS))
    if form == "folder":  # whose hidden folders are not opened
        assert counts["hidden"] == len(HIDDEN)
    else:
        assert counts["hidden"] + counts["in hidden folders"] == len(HIDDEN)


def test_the_plan_of_a_run_has_the_count_of_both_splits(root: Path) -> None:
    for split in ("train", "val"):
        write_odd_folder(root / split)
    (root / "val" / "loose.jpg").write_bytes(b"")
    result = Images(root=str(root), size=8, batch_size=8, device="cpu", out=str(root / "run"), watch=()).fit()
    facts = json.loads((root / "run" / "plan.json").read_text())["facts"]
    assert result.samples == 19
    assert facts["passed over"].startswith("15 hidden (.hidden.jpg), 1 .csv (dog/labels.csv), ")
    assert "1 in no class folder (loose.jpg)" in facts["passed over, val"]


def test_packing_prints_the_count_and_packs_the_samples(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    expected = write_odd_folder(root / "train")
    assert __main__.main(["pack", str(root / "train"), str(root / "train.raw"), "--format", "raw", "--workers", "1"]) == 0
    assert "passed over for train.raw: 15 hidden (.hidden.jpg), " in capsys.readouterr().out
    assert keys(store_at(root / "train.raw")) == expected


def test_every_suffix_can_be_decoded_and_in_capitals(root: Path) -> None:
    for suffix in SUFFIXES - {".avif", ".j2k", ".apng"}:
        (root / "train" / "a").mkdir(parents=True, exist_ok=True)
        (root / "train" / "a" / f"{suffix[1:]}{suffix.upper()}").write_bytes(encoded(suffix, 77))
    data = Folder(root / "train", ["a"], 8)
    assert len(data) == len(SUFFIXES) - 3
    for number, key in enumerate(keys(data.store)):
        far = np.abs(data[number][0].numpy().astype(int) - 77).max()
        assert far <= 2 or key.endswith(".PBM"), key  # which has black and white alone


@pytest.mark.parametrize(
    ("name", "picture"),
    [
        ("a.jpg", True), ("a.JPG", True), ("a.b.jpeg", True), ("a.jpg.txt", False), ("jpg", False), (".jpg", False), ("a.", False),
        ("a.jpg~", False), ("a.heic", False), ("", False), ("a\n.png", True), ("Thumbs.db", False), ("é.png", True),
    ],
)  # fmt: skip
def test_names(name: str, picture: bool) -> None:
    assert is_picture(name) == picture


def test_a_path_may_begin_with_dots() -> None:
    assert [reason_to_pass(path) for path in ("./a/b.jpg", "../a/b.jpg", "a/./b.jpg", "/a/b.jpg")] == [""] * 4
    assert reason_to_pass("a/.../b.jpg") == "in hidden folders"


def test_a_long_count_is_short_in_the_plan_and_comes_back_from_json() -> None:
    passed_over = PassedOver()
    for number in range(40):
        passed_over.add(f".{number:02}", f"{number}\udcff", number + 1)
    assert passed_over.describe().count("(") == MAX_REASONS
    assert passed_over.describe().endswith(f" and {sum(range(1, 35))} more")
    assert PassedOver.load(passed_over.dump()) == passed_over


def test_a_store_of_ones_own_needs_no_count(root: Path) -> None:
    write_odd_folder(root / "train")

    class Own(Files):
        passed_over = None  # type: ignore[assignment]

        def __init__(self) -> None:
            super().__init__(root / "train", ["cat", "dog"])
            del self.passed_over

    store: Store = Own()
    data = Folder(store, ["cat", "dog"], 8)
    assert "passed over" not in data.plan_notes()
