"""A new file is whole or not there, whatever ends the process; what is there already stays."""

from __future__ import annotations

import errno
import os
import signal
from pathlib import Path

import pytest

from accel.system import atomic_files
from accel.system.atomic_files import create_file
from accel.system.faults import armed
from tests.support.forked_process import run_forked


@pytest.fixture(params=["nameless", "hidden"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "hidden":
        monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    return str(request.param)


def test_it_makes_the_file_and_its_folders(tmp_path: Path, way: str) -> None:
    file = tmp_path / "a/b/file"
    create_file(file, b"content")
    assert file.read_bytes() == b"content"
    assert [path.name for path in file.parent.iterdir()] == ["file"]
    mask = os.umask(0)
    os.umask(mask)
    assert file.stat().st_mode & 0o777 == 0o666 & ~mask


@pytest.mark.parametrize("taken", ["file", "link", "folder"])
def test_nothing_makes_way_for_it(taken: str, tmp_path: Path, way: str) -> None:
    file = tmp_path / "file"
    {"file": file.touch, "link": lambda: file.symlink_to("nowhere"), "folder": file.mkdir}[taken]()
    with pytest.raises(FileExistsError):
        create_file(file, b"content")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert file.is_symlink() == (taken == "link")
    assert not (tmp_path / "nowhere").exists()


def test_a_folder_that_cannot_be_written_leaves_nothing(tmp_path: Path, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object, **more: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        create_file(tmp_path / "a/b/file", b"content")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not hasattr(os, "O_TMPFILE"), reason="files without a name are Linux's")
@pytest.mark.parametrize(("place", "there"), [("written", []), ("named", ["a", "b", "file"])])
def test_a_process_that_is_killed_leaves_all_or_nothing(place: str, there: list[str], tmp_path: Path) -> None:
    def struck() -> None:
        armed[f"new.{place}"] = lambda: os.kill(os.getpid(), signal.SIGKILL)
        create_file(tmp_path / "a/b/file", b"content", "new")

    assert run_forked(struck).code == -signal.SIGKILL
    assert [path.name for path in sorted(tmp_path.rglob("*"))] == there


def test_a_disk_that_has_no_nameless_files_takes_the_other_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(atomic_files.os, "open", refuse(os.open))
    create_file(tmp_path / "file", b"content")
    assert (tmp_path / "file").read_bytes() == b"content"


def refuse(opened: object) -> object:
    def open_named(path: object, flags: int, *args: object, **more: object) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, "Operation not supported")
        return opened(path, flags, *args, **more)  # type: ignore[operator, no-any-return]

    return open_named
