"""The fixtures unpacked, for each test the current directory."""

from __future__ import annotations

from importlib.metadata import Distribution, PackageNotFoundError
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.compatibility import unpacked


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything unpacked."""
    home = tmp_path_factory.mktemp("before")
    unpacked.unpack(home)
    return home


@pytest.fixture(autouse=True)
def here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In that folder, with the versions of then as far as the names of caches are functions of them."""
    versions, before = unpacked.expected()["versions"], Distribution.from_name

    def from_name(name: str) -> Any:
        if name not in versions:
            return before(name)
        if not versions[name]:
            raise PackageNotFoundError(name)
        return SimpleNamespace(version=versions[name])

    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "home"))
    monkeypatch.setenv("MPLCONFIGDIR", str(folder / "home/matplotlib"))
    monkeypatch.setattr(Distribution, "from_name", from_name)
