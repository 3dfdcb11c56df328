"""A folder that is replaced is the old one or the new, whatever happens."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from accel.errors import ConfigError
from accel.export.replaced_folder import replacing_folder
from accel.system.faults import armed
from tests.support.forked_process import run_forked

MARK = "file"


def content(folder: Path) -> dict[str, str]:
    """The texts of all files in a folder, and in hidden ones beside it."""
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


def write(folder: Path, text: str) -> None:
    with replacing_folder(folder, MARK) as new:
        assert not list(new.iterdir())
        (new / "file").write_text(text)
        (new / text).write_text(text)


def write_half(folder: Path, error: BaseException) -> None:
    with replacing_folder(folder, MARK) as new:
        (new / "half").write_text("half")
        raise error


def test_it_is_replaced_as_a_whole(tmp_path: Path) -> None:
    for text in ("one", "two"):
        write(tmp_path / "above" / "folder", text)
        assert content(tmp_path) == {"above/folder/file": text, f"above/folder/{text}": text}


def test_an_error_leaves_the_old_one_and_nothing_else(tmp_path: Path) -> None:
    write(tmp_path / "folder", "one")
    for error in (OSError("full"), KeyboardInterrupt()):
        with pytest.raises(type(error)):
            write_half(tmp_path / "folder", error)
        assert content(tmp_path) == {"folder/file": "one", "folder/one": "one"}


@pytest.mark.parametrize("moved", [".folder.new", ".folder.old"])
def test_what_a_killed_process_has_left_is_taken_away_or_put_back(moved: str, tmp_path: Path) -> None:
    write(tmp_path / "folder", "one")
    if moved == ".folder.old":  # it was killed between the two moves
        (tmp_path / "folder").rename(tmp_path / moved)
    (tmp_path / ".folder.new").mkdir()
    (tmp_path / ".folder.new/half").write_text("half")
    with pytest.raises(OSError, match="full"), replacing_folder(tmp_path / "folder", MARK):
        raise OSError("full")
    assert content(tmp_path) == {"folder/file": "one", "folder/one": "one"}
    write(tmp_path / "folder", "two")
    assert content(tmp_path) == {"folder/file": "two", "folder/two": "two"}


def test_a_disk_that_takes_no_folder_is_an_error() -> None:
    with pytest.raises(OSError), replacing_folder(Path("/proc/no/folder"), MARK):
        raise AssertionError


@pytest.mark.parametrize("place", ["begun", "written", "aside", "moved"])
def test_a_process_that_is_killed_leaves_a_whole_one(place: str, tmp_path: Path) -> None:
    write(tmp_path / "folder", "one")

    def struck() -> None:
        armed[f"test.{place}"] = lambda: os.kill(os.getpid(), signal.SIGKILL)
        with replacing_folder(tmp_path / "folder", MARK, "test") as new:
            (new / "file").write_text("two")

    assert run_forked(struck).code == -signal.SIGKILL
    whole = [folder for folder in ("folder", ".folder.old") if (tmp_path / folder / "file").is_file()]
    assert whole
    texts = [(tmp_path / folder / "file").read_text() for folder in whole]
    assert texts[0] == ("two" if place == "moved" else "one")
    with pytest.raises(OSError, match="full"):
        write_half(tmp_path / "folder", OSError("full"))
    assert (tmp_path / "folder/file").read_text() == texts[0]
    assert [path.name for path in tmp_path.iterdir()] == ["folder"], "what was left is taken away"


def test_two_at_once_are_one_and_a_sentence(tmp_path: Path) -> None:
    with replacing_folder(tmp_path / "folder", MARK) as new:
        (new / "file").write_text("one")
        with pytest.raises(ConfigError, match="another process is writing to"):
            write(tmp_path / "folder", "two")
    assert content(tmp_path) == {"folder/file": "one"}


def test_what_is_somebody_elses_stays(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/notes").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    before = content(tmp_path)
    for name, reason in {"file": "is no folder", "link": "is no folder", "folder": "has files and no file"}.items():
        with pytest.raises(ConfigError, match=f"{name} {reason}.*, and would be lost; move it away"):
            write(tmp_path / name, "two")
    for inside in ("file/in it", "file/in/it"):
        with pytest.raises(ConfigError, match="is no folder, and would be lost; move it away"):
            write(tmp_path / inside, "two")
    assert content(tmp_path) == before
