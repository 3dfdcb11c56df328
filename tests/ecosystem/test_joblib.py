"""Hydra's launcher joblib: the digits, four jobs on two places, as they are typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from accel.cli.train_command import main

pytest.importorskip("hydra_plugins.hydra_joblib_launcher", reason="needs the extra ecosystem")
pytest.importorskip("sklearn", reason="needs the extra demo")

JOBLIB = ["-m", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
QUIET = ["epochs=1", "plugins.metrics.report=false", "plugins.metrics.curves=false"]


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def learnt(run: Path) -> list[bytes]:
    return [(run / name).read_bytes() for name in ("model.safetensors", "metrics.jsonl")]


@pytest.mark.slow
def test_four_jobs_are_those_of_the_basic_launcher(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    own = ["hydra.sweep.dir=beside", "hydra.sweep.subdir=s${seed}", "hydra.job.name=mine"]
    assert main([*JOBLIB, "seed=1,2,3,4", *QUIET, *own]) == 0
    shown = capfd.readouterr()
    assert "4 jobs, 2 at a time" in shown.err
    assert "4 seeds" in shown.out
    assert main(["-m", "seed=1,2,3,4", *QUIET, "out=one"]) == 0
    for number in range(4):
        assert learnt(place / f"beside/s{number + 1}") == learnt(place / f"one/{number}")
    log = (place / "beside/s1/mine.log").read_text()
    assert "where the time went" in log


@pytest.mark.slow
def test_trials_of_optuna_run_at_the_same_time(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper", reason="needs the extra ecosystem")
    sweep = ["hydra/sweeper=optuna", "hydra.sweeper.n_trials=4", "hydra.sweeper.n_jobs=2", "checkpoint.best=accuracy", "out=sweep"]
    assert main([*JOBLIB, *sweep, *QUIET, "+plugins=[onecycle]", "plugins.onecycle.max_lr=tag(log,interval(0.001,0.1))"]) == 0
    best = [json.loads((run / "summary.json").read_text())["best"]["value"] for run in sorted(place.glob("sweep/[0-9]"))]
    assert len(best) == 4
    assert f"best_value: {max(best)}" in (place / "sweep/optimization_results.yaml").read_text()
    shown = capfd.readouterr()
    assert "trials: 2 jobs, 2 at a time" in shown.err
    assert "trial 4 is done after" in shown.err
    assert "the highest accuracy has trial" in shown.out


def primary(place: Path, launcher: str) -> None:
    (place / "conf").mkdir()
    text = f"defaults:\n  - config\n  - _self_\n  - override hydra/launcher: {launcher}\n"
    text += "epochs: 1\nhydra:\n  launcher:\n    n_jobs: 2\n"
    (place / "conf/my.yaml").write_text(text)


@pytest.mark.slow
def test_a_config_of_ones_own_chooses_it(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    primary(place, "joblib")
    words = ["--config-path", "conf", "--config-name", "my", *QUIET[1:]]
    assert main([*words, "-m", "seed=0,1", "out=many"]) == 0
    assert "2 jobs, 2 at a time" in capfd.readouterr().err
    assert main([*words, "out=one"]) == 0, "one run is no multirun, and starts here, as with Hydra"
    assert not list(place.glob("one/*.log"))


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["hydra/launcher=joblib"], "starts the jobs of a multirun, and this is one run: add --multirun"),
        ([*JOBLIB[:2], "hydra.launcher.n_job=2", "seed=0,1"], "n_job is no setting of the launcher; did you mean 'n_jobs'?"),
        ([*JOBLIB[:2], "hydra.launcher.n_jobs=0", "seed=0,1"], "n_jobs must be a number of jobs"),
        ([*JOBLIB[:2], "hydra.launcher.n_jobs=two", "seed=0,1"], "hydra.launcher.n_jobs=two"),
        ([*JOBLIB, "hydra.launcher.timeout=3", "seed=0,1"], "hydra.launcher.timeout=3.0 has no effect: each job is a process"),
        ([*JOBLIB, "seed=0,1", "epocs=1"], "did you mean 'epochs'?"),
    ],
)
def test_what_cannot_work_is_one_sentence(words: list[str], sentence: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert len(error.splitlines()) == 1
    assert list(place.iterdir()) == []
