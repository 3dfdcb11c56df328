from __future__ import annotations

from pathlib import Path

import pytest

from accel.system.atomic_files import swapped_in


def test_a_file_is_swapped_in_whole(tmp_path: Path) -> None:
    path = tmp_path / "index.json.gz"
    path.write_text("old")
    with swapped_in(path) as temporary:
        assert temporary.suffix == ".gz", "whoever writes may choose the format by it"
        assert temporary.name.startswith("."), "hidden until it is whole"
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "index"
    path.write_text("old")

    def fail(temporary: Path) -> None:
        temporary.write_text("half")
        raise OSError("full")

    with pytest.raises(OSError, match="full"), swapped_in(path) as temporary:
        fail(temporary)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
