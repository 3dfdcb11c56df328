from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from accel.plugins.adamw import AdamW
from accel.testing import fit_toy


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three epochs that was stopped, with the checkpoints of two."""
    run = tmp_path_factory.mktemp("made") / "run"
    fit_toy([AdamW()], epochs=3, out=run, stop=13)
    return run


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "run"))
