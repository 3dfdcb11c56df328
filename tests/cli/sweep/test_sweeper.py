from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest

from accel.cli.compose import hydra_choices
from accel.cli.train_command import main

PACKAGE = "hydra_plugins.hydra_optuna_sweeper"
OPTUNA = ["-m", "hydra/sweeper=optuna", "+hydra.sweeper.sampler.seed=1"]
RUN = [
    "epochs=1",
    "checkpoint.best=accuracy",
    "plugins.metrics.report=false",
    "plugins.metrics.curves=false",
    "+plugins=[onecycle]",
]
RATE = "plugins.onecycle.max_lr=tag(log,interval(0.0001,1.0))"


def values(base: Path) -> list[float]:
    runs = sorted(base.glob("[0-9]*"), key=lambda run: int(run.name))
    return [json.loads((run / "summary.json").read_text())["best"]["value"] for run in runs]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in which sweeps over the digits are started."""
    pytest.importorskip(PACKAGE, reason="needs the extra optuna")
    pytest.importorskip("sklearn", reason="needs the extra demo")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_twenty_trials_improve_on_the_first(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*OPTUNA, "hydra.sweeper.n_trials=20", *RUN, RATE, "out=sweep"]) == 0
    actual = values(folder / "sweep")
    assert len(actual) == 20
    assert max(actual) > actual[0]
    results = (folder / "sweep/optimization_results.yaml").read_text()
    assert f"best_value: {max(actual)}" in results
    assert f"the highest accuracy has trial {actual.index(max(actual))}: {max(actual):.4g} with" in capsys.readouterr().out


@pytest.mark.slow
def test_a_file_of_hparams_search_says_what_to_search(folder: Path) -> None:
    (folder / "conf/hparams_search").mkdir(parents=True)
    (folder / "conf/hparams_search/rate.yaml").write_text(
        "# @package _global_\ndefaults:\n  - override /hydra/sweeper: optuna\nhydra:\n  sweeper:\n    n_trials: 2\n"
        "    storage: sqlite:///study.db\n    study_name: rates\n"
        "    params:\n      plugins.onecycle.max_lr: interval(0.001, 0.1)\n      seed: choice(0, 1)\n"
    )
    assert main(["-m", "--config-dir", "conf", "hparams_search=rate", *RUN, "out=sweep"]) == 0
    actual = values(folder / "sweep")
    study = importlib.import_module("optuna").load_study("rates", "sqlite:///study.db")
    assert [trial.value for trial in study.trials] == pytest.approx(actual), "it is kept, to be gone on with"
    assert len(actual) == 2


CASES = [
    (["hydra/sweeper=optuna", *RUN, RATE], "a sweeper proposes several runs: add --multirun"),
    ([*OPTUNA, "epochs=1", "+plugins=[onecycle]", RATE], "add checkpoint.best=accuracy, or min:NAME"),
    ([*OPTUNA, *RUN], "a sweep needs settings to search: add NAME=interval(LOW,HIGH)"),
    (["-m", "hydra/sweeper=optunna", *RUN, RATE], "no sweeper is called 'optunna'; did you mean 'optuna'?"),
    ([*OPTUNA, "hydra.sweeper.n_trails=3", *RUN, RATE], "n_trails"),
    ([*OPTUNA, *RUN, RATE, "epocs=3"], "did you mean 'epochs'?"),
    ([*OPTUNA, *RUN, RATE, "hydra.sweeper.n_trials=0"], "hydra.sweeper.n_trials must be a whole number from 1, not 0"),
    ([*OPTUNA, *RUN, RATE, "hydra.sweeper.n_jobs=0"], "hydra.sweeper.n_jobs must be a whole number from 1, not 0"),
    ([*OPTUNA, *RUN, "plugins.onecycle.max_lr=interval(1,0.1)"], "Optuna refuses the sweep: The `low` value must be smaller"),
    ([*OPTUNA, *RUN, RATE, "hydra.sweeper.storage=sqlite:////proc/none/here.db"], "unable to open database file"),
]


@pytest.mark.parametrize(("words", "sentence"), CASES, ids=[sentence[:30] for _, sentence in CASES])
def test_what_cannot_work_is_refused_in_one_sentence(words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip(PACKAGE, reason="needs the extra optuna")
    assert main(words) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert len(error.strip().splitlines()) == 1


def test_a_trial_that_fails_ends_the_sweep_with_its_sentence(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*OPTUNA, "hydra.sweeper.n_trials=1", *RUN, RATE, "checkpoint.best=acuracy", "out=sweep"]) == 2
    written = capsys.readouterr()
    assert written.err.count("the evaluation gives loss, accuracy; did you mean 'accuracy'?") == 1
    assert "Traceback" not in written.err
    assert "hydra.sweeper.max_failure_rate=0.5" in written.err
    assert "no trial has a value of acuracy" in written.out


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(hydra_choices, "importable", lambda package: False)
    assert main([*OPTUNA, *RUN, RATE]) == 2
    assert "pip install 'accel-train[optuna]'" in capsys.readouterr().err
