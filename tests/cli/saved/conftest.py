from __future__ import annotations

from pathlib import Path

import pytest

from accel.cli.train_command import main
from tests.support.points_task import TASK


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the command line, with an average, whose best epoch is not its last."""
    path = tmp_path_factory.mktemp("saved") / "run"
    words = ["+plugins=[sgd,ema]", "plugins.sgd.lr=10", "plugins.ema.decay=0.5", "epochs=4", "checkpoint.keep=9"]
    assert main([*TASK, *words, "checkpoint.best=min:loss", f"out={path}"]) == 0
    return path
