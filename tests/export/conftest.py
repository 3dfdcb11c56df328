from __future__ import annotations

from pathlib import Path

import pytest

from accel.export.exporter import Exporter
from tests.support.exported_runs import keep_operators, make_exporter, train_pictures

pytest.importorskip("PIL", reason="the pictures need the extra images")


@pytest.fixture(scope="session")
def pictures_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on pictures whose weights are averaged."""
    return train_pictures(tmp_path_factory.mktemp("pictures"), "+plugins=[ema,adamw]", "plugins.ema.decay=0.5")


@pytest.fixture
def exporter(pictures_run: Path, tmp_path: Path) -> Exporter:
    """Its exporter, which writes elsewhere."""
    made = make_exporter(pictures_run)
    made.run = tmp_path
    return made


@pytest.fixture(autouse=True)
def engines_are_forks(request: pytest.FixtureRequest) -> None:
    """Engines run in forks of the tests; in processes that begin anew where those are the subject (tests/export/runtime)."""
    if "runtime" not in request.path.parts:
        keep_operators()
        request.getfixturevalue("forked_commands")
