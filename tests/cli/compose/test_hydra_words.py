from __future__ import annotations

import logging
from pathlib import Path

import pytest

from accel.cli.compose.hydra_words import in_own_words
from accel.cli.train_command import main
from accel.errors import ConfigError


def test_directories_are_named_as_hydra_names_them() -> None:
    assert in_own_words(["hydra.run.dir=a/b", "epochs=2"], multirun=False) == ["out=a/b", "epochs=2"]
    assert in_own_words(["hydra.sweep.dir=a", "seed=0,1"], multirun=True) == ["out=a", "seed=0,1"]


@pytest.mark.parametrize(
    ("word", "multirun", "sentence"),
    [
        ("hydra.run.dir=x", True, "one run, and these are several: write hydra.sweep.dir=x"),
        ("hydra.sweep.dir=x", False, "a multirun, and this is one run: write hydra.run.dir=x"),
        ("hydra.job.name=x", False, "a run is called after its directory: out=DIR"),
        ("hydra.sweep.subdir=x", True, "job N of a multirun is in N"),
        ("hydra.job.chdir=true", False, "stays in the directory in which it was started"),
        ("hydra.verbose={a}", False, "write hydra.verbose=true"),
    ],
)
def test_what_a_run_has_not_is_refused(word: str, multirun: bool, sentence: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        in_own_words([word], multirun)
    assert sentence in str(refusal.value)


def test_loggers_are_named() -> None:
    logger = logging.getLogger("mine.data")
    try:
        assert in_own_words(["hydra.verbose=[mine.data,mine.other]"], multirun=False) == []
        assert logger.level == logging.DEBUG
    finally:
        logger.setLevel(logging.NOTSET)


@pytest.mark.slow
def test_a_run_lies_where_hydra_was_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sklearn", reason="needs the extra demo")
    monkeypatch.chdir(tmp_path)
    assert main(["hydra.run.dir=one", "epochs=1"]) == 0
    assert (tmp_path / "one/summary.json").exists()
    assert main(["-m", "hydra.sweep.dir=many", "epochs=1", "seed=0,1", "+plugins=[csv]"]) == 0
    assert [(tmp_path / f"many/{number}/metrics.csv").exists() for number in (0, 1)] == [True, True]
