"""Class folders with links, pipes and devices: each real folder once, nothing waited for, and digests as they always were."""

from __future__ import annotations

import os
import socket
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from accel import __main__
from accel.data.class_folders import CIRCLE, DANGLING, TWICE, FolderWalk
from accel.data.datasets.image_folder import Folder
from accel.data.file_access import MAX_FILE_BYTES
from accel.data.loaders.ring import Ring
from accel.data.store import Files, class_names
from accel.errors import BadSample, ConfigError
from accel.plugins.cache import Cache
from accel.plugins.resident import Resident
from accel.plugins.threads import Threads
from accel.plugins.workers import Workers
from accel.tasks.images import Images
from tests.support.odd_folder import encoded, open_files


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Twelve pictures: six of each of two classes, half of them in a folder of their own."""
    for split in ("train", "val"):
        for name in ("cat", "dog"):
            (tmp_path / "set" / split / name / "more").mkdir(parents=True)
            for number in range(6):
                place = tmp_path / "set" / split / name / ("more" if number % 2 else "")
                (place / f"{number}.png").write_bytes(encoded(".png", 9 * number + len(name)))
    return tmp_path / "set"


def keys(store: Any) -> list[str]:
    return [store.key(number) for number in range(len(store))]


def files(root: Path) -> Files:
    return Files(root / "train", class_names(root / "train"))


@pytest.mark.parametrize("target", [".", "..", "../..", "../../..", "more", "../cat", "../cat/more", "/", "loop"])
def test_links_in_a_circle_add_nothing(root: Path, target: str) -> None:
    plain = keys(files(root))
    (root / "train" / "cat" / "loop").symlink_to(target)
    (root / "train" / "cat" / "more" / "up").symlink_to("../loop")
    store = files(root)
    assert keys(store) == plain
    if target != "loop":  # a link to itself leads to no folder
        assert {CIRCLE, TWICE} & store.passed_over.counts.keys()


def test_links_from_class_to_class_end(root: Path) -> None:
    (root / "train" / "cat" / "other").symlink_to("../dog")
    (root / "train" / "dog" / "other").symlink_to("../cat")
    store = files(root)
    assert len(store) == 24, "each class has the pictures of both, once"
    assert len(set(store.files)) == 24


def test_links_to_folders_are_followed_once_in_a_class(root: Path) -> None:
    (root / "elsewhere" / "deep").mkdir(parents=True)
    (root / "elsewhere" / "deep" / "9.png").write_bytes(encoded(".png"))
    for name in ("b", "a"):
        (root / "train" / "cat" / name).symlink_to(root / "elsewhere")
    (root / "train" / "dog" / "a").symlink_to("../../elsewhere")
    store = files(root)
    assert [key for key in keys(store) if "9" in key] == ["cat/a/deep/9.png", "dog/a/deep/9.png"]
    assert store.passed_over.counts[TWICE] == (1, "cat/b")


def test_the_way_without_links_is_taken(root: Path) -> None:
    plain = keys(files(root))
    (root / "train" / "cat" / "a").symlink_to("more")
    assert keys(files(root)) == plain


def test_class_folders_may_be_links_and_the_plan_names_two_to_one_folder(root: Path) -> None:
    subset = root / "subset"
    for split in ("train", "val"):
        (subset / split).mkdir(parents=True)
        for name, target in (("cat", "cat"), ("kitten", "cat"), ("dog", "dog")):
            (subset / split / name).symlink_to(root / split / target)
    data = Images(root=str(subset), size=8).data("train")
    assert keys(data.store) == [f"{name}{key[3:]}" for name in ("cat", "dog", "kitten") for key in keys(files(root)) if
                                key.startswith(name.replace("kitten", "cat"))]  # fmt: skip
    assert data.plan_notes()["classes"] == "cat and kitten are one folder"
    (subset / "train" / "gone").symlink_to("nowhere")
    assert Images(root=str(subset), size=8).data("train").store.passed_over.counts[DANGLING] == (1, "gone")  # type: ignore[attr-defined]


def test_a_split_may_be_a_link(root: Path) -> None:
    (root.parent / "linked").mkdir()
    for split in ("train", "val"):
        (root.parent / "linked" / split).symlink_to(root / split)
    assert keys(files(root.parent / "linked")) == keys(files(root))


def test_a_folder_that_is_gone_is_named(root: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read the folder .*train/cow: No such file or directory; "):
        Files(root / "train", ["cat", "cow"])


def test_a_class_of_nothing_but_others_names_them(root: Path) -> None:
    (root / "train" / "cow" / ".ipynb_checkpoints").mkdir(parents=True)
    (root / "train" / "cow" / "1.heic").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"cow has no pictures .* \(passed over: 1 .heic \(cow/1.heic\), 1 hidden"):
        files(root)


def old_digests(root: Path, classes: list[str]) -> tuple[str, str]:
    """Fingerprint and outline as they were when paths were a list of str."""
    paths = [path for name in classes for path in sorted(str(p) for p in (root / name).rglob("*") if p.is_file())]
    full, outline = (sha256("\n".join(classes).encode()) for _ in range(2))
    sized = range(0, len(paths), -(-len(paths) // 10))
    for number, path in enumerate(paths):
        size = os.stat(path).st_size
        full.update(f"\0{path[len(str(root)) + 1 :]}\0{size}".encode(errors="surrogateescape"))
        outline.update(f"\0{path[len(str(root)) + 1 :]}\0{size if number in sized else ''}".encode(errors="surrogateescape"))
    return full.hexdigest(), outline.hexdigest()


@pytest.mark.parametrize("count", [1, 2, 9, 10, 11, 25, 47])
def test_digests_are_those_of_always(tmp_path: Path, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("accel.data.store.OUTLINE_SIZES", 10)
    (tmp_path / "ä").mkdir()
    (tmp_path / "b").mkdir()
    for number in range(count):
        (tmp_path / "ä" / f"{number}é.png").write_bytes(b"x" * (number % 7))
    (tmp_path / "b" / "1.png").write_bytes(b"")
    store = Files(tmp_path, ["b", "ä"])
    assert (store.fingerprint(), store.outline()) == old_digests(tmp_path, ["b", "ä"])


def spoil(train: Path) -> list[str]:
    """Put what is called a picture and is none into the class `cat`; return the keys of it."""
    folder = train / "cat"
    os.mkfifo(folder / "fifo.jpg")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "socket.jpg"))
    for name, target in (
        ("zero", "/dev/zero"),
        ("null", "/dev/null"),
        ("linked", "fifo.jpg"),
        ("itself", "itself.jpg"),
        ("gone", "no"),
    ):
        (folder / f"{name}.jpg").symlink_to(target)
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "folder.jpg").mkdir()
    with open(folder / "sparse.jpg", "wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)
    return [f"cat/{name}.jpg" for name in ("empty", "fifo", "gone", "itself", "linked", "null", "socket", "sparse", "zero")]


def test_what_is_no_file_is_a_bad_sample_by_name_and_nothing_waits(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root / "train")  # the path of a socket is short
    bad = spoil(Path())
    data = Folder(Path(), ["cat", "dog"], 8)
    assert [key for key in keys(data.store) if key.endswith(".jpg")] == bad
    before = open_files()
    reasons = {}
    for number, key in enumerate(keys(data.store)):
        try:
            data[number]
        except BadSample as error:
            reasons[key] = str(error)
    assert sorted(reasons) == bad
    assert all(key in reason for key, reason in reasons.items())
    assert "it is a pipe and no file" in reasons["cat/fifo.jpg"]
    assert "it is a device and no file" in reasons["cat/zero.jpg"]
    assert "bytes, above the limit of 2,147,483,648" in reasons["cat/sparse.jpg"]
    assert open_files() == before


@pytest.mark.parametrize("plugin", [None, Threads(), Workers(), Resident(), Cache()])
def test_the_rule_for_bad_samples_holds_in_every_loader(root: Path, plugin: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    spoil(Path("train"))
    plugins = [] if plugin is None else [plugin]
    run = Images(root=".", size=8, epochs=2, batch_size=8, device="cpu", watch=(), plugins=plugins, bad_data="skip", bad_limit=0.5)
    assert run.fit().samples == 24
    with pytest.raises(BadSample, match=r"cannot read the picture .*train/cat/|above the limit"):
        Images(root=".", size=8, epochs=2, batch_size=8, device="cpu", watch=(), plugins=plugins).fit()


def test_a_loop_of_ones_own_and_packing_wait_for_nothing(root: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.chdir(root)
    bad = spoil(Path("train"))
    with Ring(Folder(Path("train"), ["cat", "dog"], 8), 4, bad="skip", bad_limit=0.5, threads=2) as ring:
        assert len([*ring.epoch(0)]) == 6
        assert len(ring.bad) == len(bad)
    words = ["pack", "train", "train.raw", "--format", "raw", "--workers", "1"]
    with pytest.raises(ConfigError, match=r"cannot read the picture train/cat/empty.jpg: it is empty"):
        __main__.main(words)
    assert __main__.main([*words, "--on-error", "skip"]) == 0
    assert capsys.readouterr().out.count("left out: ") == len(bad)


@pytest.mark.parametrize("name", ["x.tar", "x.tfrecord", "x.raw", "x.lmdb"])
def test_a_store_that_is_a_pipe_is_named(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    os.mkfifo(tmp_path / name)
    words = ["--check", str(tmp_path / name)] if name in ("x.raw", "x.lmdb") else [f"{tmp_path}/x.t*", str(tmp_path / "y.raw")]
    if name in ("x.raw", "x.lmdb"):
        assert __main__.main(["pack", *words]) == 1
        assert "it is a pipe and no file" in " ".join(capsys.readouterr().out.split())
    else:
        with pytest.raises(ConfigError, match=rf"{name}: it is a pipe and no file"):
            __main__.main(["pack", *words, "--format", "raw"])


def test_one_listing_serves_the_start_of_a_run(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed: list[str] = []
    scan = FolderWalk._scan

    def count(self: FolderWalk, place: str, *more: Any) -> None:
        listed.append(f"{self.root}/{place}")
        scan(self, place, *more)

    monkeypatch.setattr(FolderWalk, "_scan", count)
    Images(root=str(root), size=32, model="airnet_s", batch_size=6, device="cpu", watch=(), dry_run=True).fit()
    assert len(listed) == len(set(listed)) == 8, "each folder of each split once"
