from __future__ import annotations

import gzip
import pickle
import tarfile
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from accel.data.shards.webdataset_shards import Tars
from accel.errors import AccelWarning, ConfigError
from accel.plugins.webdataset import WebDataset
from accel.tasks.images import Images
from accel.testing import fit_toy
from tests.support.shard_writer import add, digests, draw_folder, files, write_tars


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of pictures of several formats and sizes, in two splits."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return draw_folder(tmp_path / "data", {"train": 12, "test": 4}, ("cat", "cat-fish"))


def opened(root: Path, split: str, **settings: Any) -> Any:
    source = WebDataset(**settings)
    source.setup(None)  # type: ignore[arg-type]
    return source.open(Images(root=str(root), size=16, crop="resized").data(split), split)


@pytest.mark.parametrize(("named", "extra"), [(True, False), (False, True)])
def test_the_batches_are_those_of_the_folder(root: Path, named: bool, extra: bool) -> None:
    for split in ("train", "test"):
        write_tars(root / split, root / split, named=named, extra=extra)
        data = Images(root=str(root), size=16, crop="resized").data(split)
        expected = digests(data, split == "train")
        assert digests(opened(root, split), split == "train") == expected
        assert digests(opened(root, split), split == "train") == expected, "from the index that was kept"


def test_the_run_is_that_of_the_folder(root: Path) -> None:
    for split in ("train", "test"):
        write_tars(root / split, root / split)

    def fit(*plugins: Any) -> Any:
        return Images(root=str(root), size=16, plugins=plugins, watch=(), batch_size=4, device="cpu").fit()

    plugin = WebDataset(path=str(root / "SPLIT-{000..002}.tar"))
    plain, read = fit(), fit(plugin)
    assert plain.metrics == read.metrics
    assert all(torch.equal(a, b) for a, b in zip(plain.model.parameters(), read.model.parameters(), strict=True))
    assert plugin.plan_notes()["train store"].startswith("24 pictures, 0.0 MB in 3 files, ")


def test_shards_in_another_order_are_sorted_by_key(root: Path) -> None:
    paths = write_tars(root / "train", root / "x")
    store, folder = Tars([str(path) for path in reversed(paths)]), files(root / "train")
    assert store.keys == [folder.key(index) for index in range(len(folder))]
    assert [store.get(index) for index in range(24)] == [folder.get(index) for index in range(24)]


def test_a_key_that_comes_in_two_shards_keeps_the_order_of_the_shards(root: Path) -> None:
    one, two = root / "one.tar", root / "two.tar"
    for path, label in ((two, b"1"), (one, b"0")):
        with tarfile.open(path, "w") as tar:
            add(tar, "000000.jpg", b"picture " + label)
            add(tar, "000000.cls", label)
    store = Tars([str(two), str(one)])
    assert [store.get(index) for index in range(2)] == [b"picture 1", b"picture 0"]
    assert [store.label(index) for index in range(2)] == [1, 0]


def test_it_is_read_after_being_pickled(root: Path) -> None:
    store = Tars([str(path) for path in write_tars(root / "train", root / "x")])
    store.get(0)
    again = pickle.loads(pickle.dumps(store))
    assert [again.get(index) for index in range(24)] == [store.get(index) for index in range(24)]


def test_headers_alone_are_read_and_the_second_time_nothing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from accel.data.shards.range_reader import LocalFile

    (path,) = write_tars(root / "train", root / "x", shards=1)
    read = 0

    def count(self: LocalFile, offset: int, size: int, read_piece: Any = LocalFile.read) -> bytes:
        nonlocal read
        read += size
        actual: bytes = read_piece(self, offset, size)
        return actual

    monkeypatch.setattr(LocalFile, "read", count)
    Tars([str(path)])
    assert 512 * 48 < read < 512 * (3 * 24 + 3) + 10_240, "a header for each member, each label, and the zeros at the end"
    read = 0
    Tars([str(path)])
    assert read == 0


def test_a_shard_that_was_changed_is_gone_through_again(root: Path) -> None:
    (path,) = write_tars(root / "train", root / "x", shards=1)
    assert len(Tars([str(path)])) == 24
    write_tars(root / "test", root / "x", shards=1)
    assert len(Tars([str(path)])) == 8


def test_an_index_that_was_damaged_is_made_again(root: Path) -> None:
    (path,) = write_tars(root / "train", root / "x", shards=1)
    Tars([str(path)])
    (index,) = (root.parent / "cache" / "accel" / "shards").iterdir()
    data = bytearray(index.read_bytes())
    data[200] ^= 1
    index.write_bytes(data)
    assert Tars([str(path)]).keys == [files(root / "train").key(index) for index in range(24)]


def test_a_shard_that_is_changed_while_it_is_used(root: Path) -> None:
    (path,) = write_tars(root / "train", root / "x", shards=1)
    read, unread = Tars([str(path)]), Tars([str(path)])
    read.get(0)
    path.write_bytes(path.read_bytes()[:20_000])
    with pytest.raises(ConfigError, match=r"x-000.tar was changed while it was used"):
        unread.get(0)
    with pytest.raises(ConfigError, match=r"x-000.tar was cut short while it was read"):
        read.get(23)


def one(path: Path, *members: tuple[str, bytes]) -> None:
    with tarfile.open(path, "w") as tar:
        add(tar, "0/a.jpg", b"picture")
        add(tar, "0/a.cls", b"0")
        for name, content in members:
            add(tar, name, content)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([("0/b.jpg", b"")], r"bad.tar: the sample 0/b has no label: there is no member 0/b.cls; make the shard again"),
        ([("0/b.npy", b""), ("0/b.cls", b"0")], r"bad.tar: none of the members 0/b.cls, 0/b.npy is a picture \(.apng, .avif, .bmp"),
        ([("0/b.jpg", b""), ("0/b.cls", b"cat")], r"bad.tar: the member 0/b.cls is no label: it says 'cat', and no whole number"),
        ([("0/b.jpg", b""), ("0/b.left.jpg", b""), ("0/b.cls", b"0")], r"0/b has 2 pictures, jpg and left.jpg; say which with web"),
        ([("0/a.jpg", b"")], r"bad.tar has the member 0/a.jpg twice"),
    ],
)
def test_samples_that_are_not_whole(root: Path, members: list[tuple[str, bytes]], message: str) -> None:
    one(root / "bad.tar", *members)
    with pytest.raises(ConfigError, match=message):
        Tars([str(root / "bad.tar")])


def test_one_of_several_pictures_is_named(root: Path) -> None:
    one(root / "x.tar")
    with tarfile.open(root / "x.tar", "w") as tar:
        for name, content in (("a.left.jpg", b"left"), ("a.jpg", b"right"), ("a.label", b"0")):
            add(tar, name, content)
    assert Tars([str(root / "x.tar")], "left.jpg", "label").get(0) == b"left"


@pytest.mark.parametrize("kept", [0, 512, 512 * 3, 10_000, 20_000, -512 * 3])
def test_a_shard_that_was_cut_short(root: Path, kept: int) -> None:
    (path,) = write_tars(root / "train", root / "x", shards=1)
    data = path.read_bytes().rstrip(b"\0")
    whole = data + bytes(-len(data) % 512)
    path.write_bytes(whole[: kept if kept >= 0 else len(whole)])  # the last: cut between two members, where only the end is lacking
    with pytest.raises(ConfigError, match=r"x-000.tar is cut short"):
        Tars([str(path)])


def test_a_damaged_header_is_named(root: Path) -> None:
    (path,) = write_tars(root / "train", root / "x", shards=1)
    data = bytearray(path.read_bytes())
    data[data.index(b"cat/1.cls")] ^= 1
    path.write_bytes(data)
    with pytest.raises(ConfigError, match=r"x-000.tar is damaged after the member cat/1.jpg, at byte "):
        Tars([str(path)])


def test_a_compressed_shard_is_refused_with_the_cure(root: Path) -> None:
    for path in write_tars(root / "train", root / "train"):
        Path(f"{path}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    with pytest.raises(ConfigError, match=r"train-000.tar.gz is compressed by gzip, .* unpack it once: gunzip train-000.tar.gz"):
        opened(root, "train")


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_and_foreign_names(root: Path, format: int) -> None:
    names = [f"{'k' * 90}/{'long' * 20}.jpg", "short/b.jpg"]
    names += [] if format == tarfile.USTAR_FORMAT else [f"ö/{'€' * 90}.jpg"]
    with tarfile.open(root / "x.tar", "w", format=format) as tar:
        for name in names:
            add(tar, f"./{name}" if name.startswith("s") else name, name.encode())
        tar.add(root / "train", "folder", recursive=False)
    store = Tars([str(root / "x.tar")])
    assert sorted(store.keys) == sorted(names)
    assert [store.get(index) for index in range(len(store))] == [key.encode() for key in store.keys]


def other_label(root: Path) -> None:
    path = root / "train-000.tar"
    data = path.read_bytes()
    at = data.index(b"cat/10.cls") + 512
    path.write_bytes(data[:at] + b"1" + data[at + 1 :])


def one_more(root: Path) -> None:
    Image.new("RGB", (9, 9)).save(root / "train" / "cat" / "99.png")


def other_classes(root: Path) -> None:
    for split in ("train", "test"):
        (root / split / "cat").rename(root / split / "cow")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (other_label, r"cat/10.png in .*train-000.tar has label 1, and .*10.png has 0"),
        (one_more, r"the store .*train-000.tar to train-002.tar has 24 pictures, and .*train has 25"),
        (other_classes, r"has the classes cat, cat-fish, and .*train has cat-fish, cow;"),
    ],
)
def test_shards_of_another_data_set_are_refused(root: Path, change: Any, message: str) -> None:
    write_tars(root / "train", root / "train")
    change(root)
    with pytest.raises(ConfigError, match=message):
        opened(root, "train")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("auto", r"webdataset: there is no .*/train\*.tar, nor any .*/train/\*.tar; say where they are with webdataset.path="),
        ("ROOT/train-{000..002}.tar", "would be read for every split; write SPLIT in place of its name"),
        ("ROOT/train-000.tar", "would be read for every split"),
        ("nowhere", "webdataset.path=nowhere: there is no such folder"),
        ("ROOT/SPLIT-*.tar", r"train-\*.tar: there is no such file"),
        ("ROOT/SPLIT-{2..1}.tar", r"the range \{2..1\} must run upwards"),
        ("ROOT/SPLIT-{a}.tar", r"\{a\} is neither a range such as \{000..146\} nor a choice"),
        ("ROOT/SPLIT-{0..3}.tar", r"cannot read .*train-0.tar: No such file"),
    ],
)
def test_shards_that_are_not_there(root: Path, path: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        opened(root, "train", path=path.replace("ROOT", str(root)))


def test_data_that_reads_from_no_store() -> None:
    with pytest.warns(AccelWarning, match="webdataset has no effect: the data is a TensorDataset"):
        fit_toy([WebDataset()])


def test_an_index_that_cannot_be_kept_is_told_once(root: Path, tmp_path: Path) -> None:
    expected = digests(Images(root=str(root), size=16, crop="resized").data("train"), True)
    write_tars(root / "train", root / "train", shards=2)
    (tmp_path / "cache").write_text("no folder")
    with pytest.warns(AccelWarning) as sentence:
        assert digests(opened(root, "train"), True) == expected
    assert len(sentence) == 1
    assert str(sentence[0].message).startswith(
        f"{tmp_path / 'cache/accel/shards'} cannot be written (Not a directory), so each run goes "
    )


def test_tars_are_not_taken_for_a_folder_of_files(root: Path) -> None:
    """A store with these attributes has its files read, and its folder named, in place of its records."""
    paths = write_tars(root / "train", root / "train")
    store = Tars([str(path) for path in paths])
    assert not hasattr(store, "files")
    assert not hasattr(store, "folder")


def test_settings_reach_a_root_of_shards_alone(root: Path, tmp_path: Path) -> None:
    (tmp_path / "tars").mkdir()
    for split in ("train", "test"):
        store = files(root / split)
        with tarfile.open(tmp_path / "tars" / f"pets-{split}-000.tar", "w") as tar:
            for number in range(len(store)):
                for extension in ("left.jpg", "right.jpg"):
                    add(tar, f"{number:04}.{extension}", store.get(number))
                add(tar, f"{number:04}.animal", str(store.label(number)).encode())
    read = Images(root=str(tmp_path / "tars"), size=16, plugins=[WebDataset(image="left.jpg", label="animal")])
    expected = Images(root=str(root), size=16)
    for split in ("train", "test"):
        assert digests(read.data(split), split == "train") == digests(expected.data(split), split == "train")
    with pytest.raises(ConfigError, match=r"has no member 0000.middle.jpg \(webdataset.image\)"):
        Images(root=str(tmp_path / "tars"), size=16, plugins=[WebDataset(image="middle.jpg", label="animal")])
