from __future__ import annotations

import sys
from pathlib import Path

import pytest

from accel.system.cache_directory import cache_directory


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have other places")
def test_the_users_own_on_linux(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for unset in ("", None):
        monkeypatch.setenv("XDG_CACHE_HOME", unset) if unset is not None else monkeypatch.delenv("XDG_CACHE_HOME")
        assert cache_directory("auto") == tmp_path / ".cache/accel"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "elsewhere"))
    assert cache_directory("auto") == tmp_path / "elsewhere/accel"


def test_a_path_that_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_directory("~/kept") == tmp_path / "kept"
    assert cache_directory("kept") == Path("kept")
