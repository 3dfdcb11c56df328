from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from accel.plugins.metrics import Metrics
from accel.plugins.mlflow import MLflow
from accel.testing import fit_toy
from tests.support.forked_process import run_forked
from tests.support.tracker_curves import mlflow_runs

pytest.importorskip("mlflow", reason="needs the extra mlflow")
pytestmark = [pytest.mark.filterwarnings("ignore::DeprecationWarning"), pytest.mark.filterwarnings("ignore::FutureWarning")]


def tracker(folder: Path, **settings: Any) -> MLflow:
    return MLflow(every=2, tracking_uri=str(folder / "mlruns"), **settings)


def test_settings_are_parameters_and_the_result_is_tags(tmp_path: Path) -> None:
    from mlflow.tracking import MlflowClient

    out = tmp_path / "run"
    fit_toy([tracker(tmp_path, tags={"team": "vision"}, experiment="mine", run_name="first"), Metrics()], out=out)
    client = MlflowClient((tmp_path / "mlruns").as_uri())
    run = client.get_run(next(iter(mlflow_runs(out))))
    assert client.get_experiment(run.info.experiment_id).name == "mine"
    assert (run.info.run_name, run.info.status) == ("first", "FINISHED")
    assert {"epochs": "2", "task.dropout": "0.1", "plugins.mlflow.every": "2"}.items() <= run.data.params.items()
    summary = json.loads((out / "summary.json").read_text())
    tags = {"team": "vision", "accel.host": summary["provenance"]["host"], "accel.result.updates": "12"}
    assert tags.items() <= run.data.tags.items()
    assert not [name for name in run.data.tags if any(name.endswith(f".{variable}") for variable in os.environ)]


@pytest.mark.filterwarnings("ignore:resume=.*was never finished")
def test_a_kill_while_points_are_sent_doubles_none(tmp_path: Path) -> None:
    out, send = tmp_path / "run", MLflow.send

    def die(self: MLflow, points: list[Any]) -> None:
        send(self, points[:2])
        os.kill(os.getpid(), signal.SIGKILL)

    def run() -> None:
        MLflow.send = die  # type: ignore[method-assign]
        fit_toy([tracker(tmp_path)], out=out)

    ended = run_forked(run)
    assert ended.code == -signal.SIGKILL, ended.stderr
    fit_toy([tracker(tmp_path), Metrics()], resume=out)
    (curves,) = mlflow_runs(out).values()
    assert [update for update, _ in curves["train/loss"]] == list(range(1, 13))


def test_a_run_that_goes_back_begins_another_and_marks_the_one_it_left(tmp_path: Path) -> None:
    from mlflow.tracking import MlflowClient

    out = tmp_path / "run"
    fit_toy([tracker(tmp_path)], out=out, checkpoint_every=2, checkpoint_keep=9)
    fit_toy([tracker(tmp_path)], resume=sorted((out / "checkpoints").glob("*.pt"))[1], dropout=0.1)
    runs = mlflow_runs(out)
    assert [[update for update, _ in curves["train/loss"]] for curves in runs.values()] == [list(range(1, 13))] * 2
    left, new = runs
    assert MlflowClient((tmp_path / "mlruns").as_uri()).get_run(left).data.tags["accel.left_for"] == new


def test_a_server_that_is_away_stops_no_run_and_gets_all_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "run"

    def refuse(self: MLflow, run: str, left: str) -> bool:
        raise ConnectionError("it is away")

    with monkeypatch.context() as patch:
        patch.setattr(MLflow, "connect", refuse)
        fit_toy([tracker(tmp_path)], out=out)
    (remark,) = [text for text in json.loads((out / "summary.json").read_text())["remarks"] if "mlflow" in text]
    assert remark.startswith("mlflow has not taken all points (ConnectionError: it is away); trackers/mlflow.jsonl has them")
    fit_toy([tracker(tmp_path)], resume=out)
    (curves,) = mlflow_runs(out).values()
    assert [update for update, _ in curves["train/loss"]] == list(range(1, 13))


@pytest.mark.slow
def test_a_database_takes_them_too(tmp_path: Path) -> None:
    from mlflow.tracking import MlflowClient

    uri = f"sqlite:///{tmp_path}/mlflow.db"
    fit_toy([MLflow(tracking_uri=uri)], out=tmp_path / "run")
    client = MlflowClient(uri)
    (run,) = client.search_runs([client.get_experiment_by_name("accel").experiment_id])
    assert len(client.get_metric_history(run.info.run_id, "train/loss")) == 12
