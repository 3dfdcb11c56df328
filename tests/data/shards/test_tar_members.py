"""Tars as other tools write them: links, archives one behind the other, appended members, long names, odd headers."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from accel.data.class_folders import CIRCLE, DANGLING
from accel.data.shards.tar_headers import MAX_GAP
from accel.data.shards.tar_links import REPLACED, tar_path
from accel.data.shards.webdataset_shards import Tars
from accel.data.store import Files
from accel.errors import BadSample, ConfigError
from tests.support.odd_folder import encoded, tar_folder
from tests.support.shard_writer import add

FILE, HARD, SYMBOLIC, FOLDER, PIPE = tarfile.REGTYPE, tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE
GNU_TAR = pytest.mark.skipif(shutil.which("tar") is None, reason="needs tar")


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def tar(path: str, *members: tuple[str, bytes | str] | tuple[str, str, bytes], format: int = tarfile.GNU_FORMAT) -> str:
    """Write a tar of (name, content), and of (name, target, kind) for links."""
    with tarfile.open(path, "w", format=format) as file:
        for name, content, *kind in members:
            if not kind:
                assert isinstance(content, bytes)
                add(file, name, content)
                continue
            item = tarfile.TarInfo(name)
            item.type, item.linkname = kind[0], str(content)
            file.addfile(item)
    return path


def read(*paths: str) -> dict[str, bytes | str]:
    """Content of every sample by key, or why it cannot be read."""
    store = Tars(paths)
    contents: dict[str, bytes | str] = {}
    for number in range(len(store)):
        try:
            contents[store.key(number)] = store.get(number)
        except BadSample as error:
            contents[store.key(number)] = str(error)
    return contents


@pytest.mark.parametrize(
    ("target", "kind"),
    [
        ("cat/1.jpg", HARD), ("./cat/1.jpg", HARD), ("/cat/1.jpg", HARD), ("../cat/1.jpg", SYMBOLIC), ("/cat/1.jpg", SYMBOLIC),
        ("../cat/./more/../1.jpg", SYMBOLIC), ("../../cat/1.jpg", SYMBOLIC), ("../folder/1.jpg", SYMBOLIC), ("3.jpg", SYMBOLIC),
    ],
)  # fmt: skip
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT])
def test_links_are_the_files_that_they_lead_to(target: str, kind: bytes, first: bool, format: int) -> None:
    link, file = ("dog/2.jpg", target, kind), ("cat/1.jpg", b"picture")
    chain: list[Any] = [("folder", "cat", SYMBOLIC), ("dog/3.jpg", "4.jpg", SYMBOLIC), ("dog/4.jpg", "cat/1.jpg", HARD)]
    path = tar("x.tar", *([link, *chain, file] if first else [file, *chain, link]), format=format)
    contents = read(path)
    assert contents.pop("folder/1.jpg") == b"picture"
    assert contents == {f"{name}.jpg": b"picture" for name in ("cat/1", "dog/2", "dog/3", "dog/4")}


@pytest.mark.parametrize(
    ("kind", "target"), [(HARD, "cat/9.jpg"), (SYMBOLIC, "9.jpg"), (SYMBOLIC, "/etc/passwd"), (SYMBOLIC, "../x")]
)
def test_a_link_to_outside_is_a_bad_sample(kind: bytes, target: str) -> None:
    contents = read(tar("x.tar", ("cat/1.jpg", b"picture"), ("cat/2.jpg", target, kind), ("cat/note", target, kind)))
    assert contents["cat/1.jpg"] == b"picture"
    assert "cannot read the picture cat/2.jpg in x.tar: its tar has a link in its place" in str(contents["cat/2.jpg"])
    assert Tars(["x.tar"]).passed_over.counts == {DANGLING: (1, "cat/note")}


def test_links_in_a_circle_and_members_that_are_no_files_are_bad_samples() -> None:
    path = tar(
        "x.tar", ("a/1.jpg", b"1"), ("a/2.jpg", "3.jpg", SYMBOLIC), ("a/3.jpg", "2.jpg", SYMBOLIC), ("a/4.jpg", "4.jpg", SYMBOLIC),
        ("a/5.jpg", "a/5.jpg", HARD), ("a/6.jpg", "", PIPE), ("a/7.jpg", "6.jpg", SYMBOLIC), ("a/8.jpg", "", FOLDER),
    )  # fmt: skip
    contents = read(path)
    assert [key for key in contents if "in a circle" in str(contents[key])] == [f"a/{number}.jpg" for number in (2, 3, 4, 5)]
    assert [key for key in contents if "a device or a pipe" in str(contents[key])] == ["a/6.jpg", "a/7.jpg"]
    assert "a/8.jpg" not in contents


def test_links_to_folders_stand_for_the_files_in_them() -> None:
    path = tar(
        "x.tar", ("cat/1.jpg", b"1"), ("cat/more/2.jpg", b"2"), ("dog", "cat", SYMBOLIC), ("cat/loop", ".", SYMBOLIC),
        ("cat/up", "..", SYMBOLIC), ("cow/a", "../cat/more", SYMBOLIC), ("cat/more/b", "../../cow", SYMBOLIC),
    )  # fmt: skip
    contents = read(path)
    assert {key: contents[key] for key in ("cat/1.jpg", "cat/more/2.jpg", "dog/1.jpg", "dog/more/2.jpg", "cow/a/2.jpg")} == {
        "cat/1.jpg": b"1", "cat/more/2.jpg": b"2", "dog/1.jpg": b"1", "dog/more/2.jpg": b"2", "cow/a/2.jpg": b"2",
    }  # fmt: skip
    assert len(contents) < 12
    assert CIRCLE in Tars([path]).passed_over.counts


def test_labels_and_pictures_of_webdataset_may_be_links() -> None:
    path = tar(
        "x.tar", ("0.jpg", b"0"), ("0.cls", b"3"), ("1.jpg", "0.jpg", HARD), ("1.cls", "0.cls", HARD), ("2.jpg", b"2"),
        ("2.cls", "0.cls", SYMBOLIC), ("__index__.cls", b"x"),
    )  # fmt: skip
    store = Tars([path])
    assert [store.label(number) for number in range(3)] == [3, 3, 3]
    assert list(read(path).values()) == [b"0", b"0", b"2"]
    assert store.passed_over.counts["of WebDataset itself"] == (1, "__index__.cls")
    with pytest.raises(ConfigError, match=r"the label 1.cls cannot be read: its tar has a link in its place"):
        Tars([tar("y.tar", ("0.jpg", b"0"), ("0.cls", b"3"), ("1.jpg", b"1"), ("1.cls", "/x.cls", SYMBOLIC))])


@GNU_TAR
def test_gnu_tar_of_hard_links_has_what_the_folder_has(place: Path) -> None:
    for name in ("cat", "dog"):
        (place / "set" / name).mkdir(parents=True)
    (place / "set" / "cat" / "1.png").write_bytes(encoded(".png"))
    os.link(place / "set" / "cat" / "1.png", place / "set" / "dog" / "2.png")
    os.link(place / "set" / "cat" / "1.png", place / "set" / "cat" / "3.png")
    (place / "set" / "dog" / "4.png").symlink_to("../cat/1.png")
    subprocess.run(["tar", "-cf", "x.tar", "-C", "set", "cat", "dog"], check=True)
    folder, store = Files(place / "set", ["cat", "dog"]), Tars(["x.tar"])
    assert store.keys == [folder.key(number) for number in range(4)]
    assert [store.get(number) for number in range(4)] == [encoded(".png")] * 4
    assert store.fingerprint() == Tars([str(tar_folder(place / "set", place / "y.tar"))]).fingerprint()


def joined(*paths: str, gap: int = 0, cut: bool = False) -> str:
    """Tars one behind the other, as `cat` writes them; `cut` leaves one block of zeros."""
    parts = [Path(path).read_bytes() for path in paths]
    if cut:
        parts = [part.rstrip(b"\0") for part in parts]
        parts = [part + bytes(-len(part) % 512 + 512) for part in parts]
    Path("joined.tar").write_bytes(bytes(gap).join(parts))
    return "joined.tar"


@pytest.mark.parametrize(("gap", "cut"), [(0, False), (512 * 40, False), (1 << 20, False), (0, True)])
def test_tars_one_behind_the_other_are_read_to_the_last(gap: int, cut: bool) -> None:
    paths = [tar(f"{name}.tar", (f"cat/{name}.jpg", name.encode()), ("dog/same.jpg", name.encode())) for name in "abc"]
    store = Tars([joined(*paths, gap=gap, cut=cut)])
    contents = sorted(store.get(number) for number in range(len(store)))
    assert contents == sorted([b"a", b"b", b"c"] * 2), "as of three shards, a name that comes in several included"
    assert not store.passed_over.counts


def test_shards_of_webdataset_one_behind_the_other() -> None:
    paths = [
        tar(f"{n}.tar", ("000.jpg", b"%d" % n), ("000.cls", b"%d" % n), ("001.jpg", b"x"), ("001.cls", b"0")) for n in range(2)
    ]
    store = Tars([joined(*paths)])
    assert [(store.key(number), store.label(number)) for number in range(4)] == [
        ("000.jpg", 0), ("001.jpg", 0), ("000.jpg", 1), ("001.jpg", 0),
    ]  # fmt: skip


@pytest.mark.parametrize("garbage", [b"x", b"garbage" * 200, bytes(600) + b"\1", bytes(MAX_GAP) + b"x"])
def test_what_is_no_tar_behind_the_end_is_counted(garbage: bytes) -> None:
    path = tar("x.tar", ("cat/1.jpg", b"1"))
    size = os.stat(path).st_size
    with open(path, "ab") as file:
        file.write(garbage)
    store = Tars([path])
    assert store.keys == ["cat/1.jpg"]
    count, example = store.passed_over.counts["bytes behind the end of a tar"]
    assert 0 < count <= size + len(garbage)
    assert example == "x.tar"


@GNU_TAR
@pytest.mark.parametrize("command", [["-rf", "x.tar", "cat", "dog"], ["-Af", "x.tar", "y.tar"], ["-uf", "x.tar", "cat", "dog"]])
def test_appended_members_count_and_the_last_of_a_name(command: list[str], place: Path) -> None:
    tar("x.tar", ("cat/1.jpg", b"old"), ("cat/2.jpg", b"2"))
    for name, content in (("cat/1.jpg", b"new"), ("dog/3.jpg", b"3")):
        (place / name).parent.mkdir(exist_ok=True)
        (place / name).write_bytes(content)
    subprocess.run(["tar", "-cf", "y.tar", "cat", "dog"], check=True)
    subprocess.run(["tar", *command], check=True)
    assert read("x.tar") == {"cat/1.jpg": b"new", "cat/2.jpg": b"2", "dog/3.jpg": b"3"}
    assert Tars(["x.tar"]).passed_over.counts[REPLACED] == (1, "cat/1.jpg")


def test_a_hard_link_is_what_stood_there_when_it_was_made() -> None:
    path = tar(
        "x.tar", ("a/1.jpg", b"old"), ("a/hard.jpg", "a/1.jpg", HARD), ("a/soft.jpg", "1.jpg", SYMBOLIC), ("a/1.jpg", b"new")
    )
    assert read(path) == {"a/1.jpg": b"new", "a/hard.jpg": b"old", "a/soft.jpg": b"new"}


def patched(path: str, name: bytes, change: Callable[[bytearray], None]) -> str:
    """Change the header of a member, and mend its sum."""
    data = bytearray(Path(path).read_bytes())
    at = data.index(name)
    header = data[at : at + 512]
    change(header)
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    data[at : at + 512] = header
    Path(path).write_bytes(data)
    return path


def base_256(header: bytearray) -> None:
    header[124:136] = b"\x80" + (3).to_bytes(11, "big")


def size_of_link(header: bytearray) -> None:
    header[124:136] = b"%011o\0" % 3


def kind(code: bytes) -> Callable[[bytearray], None]:
    def change(header: bytearray) -> None:
        header[156:157] = code

    return change


@pytest.mark.parametrize("change", [base_256, kind(b"\0"), kind(b"7")])
def test_sizes_and_kinds_of_files_in_every_spelling(change: Any) -> None:
    path = patched(tar("x.tar", ("a/1.jpg", b"one"), ("a/2.jpg", b"two")), b"a/1.jpg", change)
    assert read(path) == {"a/1.jpg": b"one", "a/2.jpg": b"two"}


def test_a_link_with_a_size_has_content_only_if_it_stands_there() -> None:
    path = patched(tar("x.tar", ("a/1.jpg", b"one"), ("a/2.jpg", "a/1.jpg", HARD), ("a/3.jpg", b"3")), b"a/2.jpg", size_of_link)
    assert read(path) == {"a/1.jpg": b"one", "a/2.jpg": b"one", "a/3.jpg": b"3"}
    path = patched(tar("y.tar", ("a/1.jpg", b"one"), ("a/2.jpg", b"two"), ("a/3.jpg", b"3")), b"a/2.jpg", kind(b"1"))
    assert read(path) == {"a/1.jpg": b"one", "a/2.jpg": b"two", "a/3.jpg": b"3"}


@pytest.mark.parametrize("code", [b"V", b"A", b"D", b"M", b"Z"])
def test_members_of_other_kinds_are_stepped_over(code: bytes) -> None:
    path = patched(tar("x.tar", ("a/1.jpg", b"one" * 400), ("a/2.jpg", b"two")), b"a/1.jpg", kind(code))
    assert read(path) == {"a/2.jpg": b"two"}


@pytest.mark.parametrize("format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_of_links_too(format: int) -> None:
    name = f"a/{'ö' * 90}/{'long' * 30}.jpg"
    path = tar("x.tar", (name, b"1"), ("a/2.jpg", name, HARD), (f"{name[:-4]}-3.jpg", f"/{name}", SYMBOLIC), format=format)
    assert read(path) == {"a/2.jpg": b"1", name: b"1", f"{name[:-4]}-3.jpg": b"1"}


@GNU_TAR
@pytest.mark.parametrize("form", [["--format=gnu"], *(["--format=posix", f"--sparse-version={v}"] for v in ("0.0", "0.1", "1.0"))])
def test_sparse_files_are_bad_samples_and_hide_no_other(form: Sequence[str], place: Path) -> None:
    (place / "a").mkdir()
    with open(place / "a" / "1.jpg", "wb") as file:
        for part in range(12):
            file.seek(part << 17)
            file.write(b"x")
        file.truncate(1 << 21)
    (place / "a" / "2.jpg").write_bytes(b"two")
    subprocess.run(["tar", "--sparse", "--hole-detection=raw", *form, "-cf", "x.tar", "a"], check=True)
    contents = read("x.tar")
    assert contents.keys() == {"a/1.jpg", "a/2.jpg"}
    assert "make the tar without --sparse" in str(contents["a/1.jpg"])
    assert contents["a/2.jpg"] == b"two"


def test_a_tar_without_an_end_is_refused() -> None:
    data = Path(tar("x.tar", ("a/1.jpg", b"1"), ("b/2.jpg", b"2"))).read_bytes()
    Path("x.tar").write_bytes(data[: 4 * 512])
    with pytest.raises(ConfigError, match=r"x.tar is cut short after the member b/2.jpg: it has no end"):
        Tars(["x.tar"])


@pytest.mark.parametrize("text", [b"1000000000", b"9223372036854775807", b"4194304", b"9" * 90])
def test_a_label_above_all_classes_is_refused_at_once(text: bytes) -> None:
    path = tar("x.tar", ("0.jpg", b""), ("0.cls", b"0"), ("1.jpg", b""), ("1.cls", text))
    with pytest.raises(ConfigError, match=rf"x.tar: the member 1.cls has the label {text.decode()}; .* from 0 to 4,194,303"):
        Tars([path])


@pytest.mark.parametrize("text", [b"-1", b"1.0", b"", b"9" * 101, b"1 2", "٣".encode(), b"0x1", b"nan"])
def test_a_label_that_is_no_number(text: bytes) -> None:
    path = tar("x.tar", ("0.jpg", b""), ("0.cls", text))
    with pytest.raises(ConfigError, match=r"x.tar: the member 0.cls is no label: it says "):
        Tars([path])


def test_what_is_beside_samples_is_counted_and_a_sample_keeps_its_usual_picture() -> None:
    path = tar(
        "x.tar",
        ("README", b""),
        ("0.jpg", b"0"),
        ("0.tif", b"mask"),
        ("0.json", b"{}"),
        ("0.cls", b"0"),
        ("1.GIF", b"1"),
        ("1.cls", b"1"),
    )
    store = Tars([path])
    assert [store.get(number) for number in range(2)] == [b"0", b"1"]
    assert {reason: count for reason, (count, _) in store.passed_over.counts.items()} == {
        ".tif beside pictures": 1, ".json beside pictures": 1, "without a suffix": 1,
    }  # fmt: skip


def test_headers_changed_anywhere_raise_nothing_but_sentences(place: Path) -> None:
    (place / "set" / "a").mkdir(parents=True)
    (place / "set" / "a" / "1.png").write_bytes(encoded(".png"))
    (place / "set" / "a" / "2.png").symlink_to("1.png")
    data = tar_folder(place / "set", place / "x.tar", format=tarfile.PAX_FORMAT).read_bytes()
    chance = random.Random(0)
    for number in range(150):
        damaged = bytearray(data)
        at = 512 * chance.randrange(len(data) // 512)
        damaged[at + chance.randrange(512)] = chance.randrange(256)
        damaged[at + 148 : at + 156] = b" " * 8
        damaged[at + 148 : at + 156] = b"%06o\0 " % sum(damaged[at : at + 512])
        Path(f"{number}.tar").write_bytes(damaged)
        try:
            store = Tars([f"{number}.tar"])
            for index in range(len(store)):
                store.get(index)
        except (ConfigError, BadSample):
            pass


def test_paths() -> None:
    assert [tar_path(path) for path in ("a/b", "./a//b/", "/a/b", "../a/./c/../b", "a/..", ".a/..b")] == ["a/b"] * 4 + [
        "",
        ".a/..b",
    ]


def test_the_index_of_a_tar_that_is_read_twice_keeps_the_count() -> None:
    path = tar("x.tar", ("a/1.jpg", b"1"), ("a/x.txt", b""))
    assert Tars([path]).passed_over == Tars([path]).passed_over
