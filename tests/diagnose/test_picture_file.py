"""The file of a picture is checked before anything is measured for it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from accel.diagnose.picture_file import picture_file
from accel.errors import ConfigError


def test_a_folder_that_takes_no_file_is_told_before_anything_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = str(tmp_path / "x.svg")
    assert picture_file(wanted, "x.svg") == tmp_path / "x.svg"
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path)  # root may write everywhere
    with pytest.raises(ConfigError, match=r"x\.svg: no file can be made in .* \(Permission denied\); name another file"):
        picture_file(wanted, "x.svg")
