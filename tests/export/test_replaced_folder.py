"""A folder that is replaced is the old one or the new, whatever happens."""

from __future__ import annotations

from pathlib import Path

import pytest

from accel.export.replaced_folder import replacing_folder


def content(folder: Path) -> dict[str, str]:
    """The texts of all files in a folder, and in hidden ones beside it."""
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


def write(folder: Path, text: str) -> None:
    with replacing_folder(folder) as new:
        assert not list(new.iterdir())
        (new / "file").write_text(text)
        (new / text).write_text(text)


def write_half(folder: Path, error: BaseException) -> None:
    with replacing_folder(folder) as new:
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
    with pytest.raises(OSError, match="full"), replacing_folder(tmp_path / "folder"):
        raise OSError("full")
    assert content(tmp_path) == {"folder/file": "one", "folder/one": "one"}
    write(tmp_path / "folder", "two")
    assert content(tmp_path) == {"folder/file": "two", "folder/two": "two"}


def test_a_disk_that_takes_no_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError), replacing_folder(tmp_path / "file/folder"):
        raise AssertionError
