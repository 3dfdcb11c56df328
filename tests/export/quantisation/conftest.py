from __future__ import annotations

from pathlib import Path

import pytest

from accel.cli.train_command import main

WORDS = ("updates=24", "task.width=8", "device=cpu", "~plugins.progress")


@pytest.fixture(scope="session")
def digits_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on digits."""
    run = tmp_path_factory.mktemp("digits") / "run"
    assert main([*WORDS, "+plugins=[adamw]", "plugins.adamw.lr=0.01", f"out={run}"]) == 0
    return run


@pytest.fixture(scope="session")
def qat_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on digits that trained layers of 8 bits."""
    pytest.importorskip("torchao", reason="needs the extra qat")
    run = tmp_path_factory.mktemp("qat") / "run"
    assert main([*WORDS, "+plugins=[qat,adamw]", "plugins.adamw.lr=0.01", f"out={run}"]) == 0
    return run
