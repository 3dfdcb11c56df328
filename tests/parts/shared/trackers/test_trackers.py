"""One rule for all trackers: their curves are those of metrics.jsonl, also after a resume, a kill and in another directory."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from accel.cli.train_command import main
from accel.errors import AccelWarning
from accel.parts import Part, Watch
from accel.plugins.amp import AMP
from accel.plugins.metrics import Metrics
from accel.plugins.onecycle import OneCycle
from accel.testing import fit_toy
from tests.support.forked_process import run_forked
from tests.support.tracker_curves import TRACKERS, curves, make_tracker, recorded

FP16: dict[str, Any] = {"dtype": "float16", "force": True}
pytestmark = [pytest.mark.filterwarnings("ignore::DeprecationWarning"), pytest.mark.filterwarnings("ignore::FutureWarning")]


def plugins(name: str, folder: Path, every: int = 2) -> list[Part]:
    return [make_tracker(name, folder, every), Metrics(every=1, curves=False, report=False), OneCycle(max_lr=0.1), AMP(**FP16)]


@dataclass(eq=False)
class Kill(Watch):
    """Kills the process after an update."""

    step: int = 0

    def after(self, step: int, loss: Tensor) -> None:
        if step == self.step:
            os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("name", TRACKERS)
def test_the_curves_are_those_of_metrics_jsonl(name: str, tmp_path: Path) -> None:
    fit_toy(plugins(name, tmp_path), out=tmp_path / "run", overflow=[3])
    actual = curves(name, tmp_path / "run")
    assert actual.pop("train/skipped")[-1] == (12, "1")
    assert actual == recorded(tmp_path / "run")
    assert actual["train/loss"][2][1] == "none"


@pytest.mark.parametrize("stop", [5, 7, 11])
@pytest.mark.parametrize("name", TRACKERS)
@pytest.mark.slow
def test_a_resumed_run_doubles_no_point_and_leaves_none_out(name: str, stop: int, tmp_path: Path) -> None:
    out = tmp_path / "run"
    fit_toy(plugins(name, tmp_path), out=out, checkpoint_every=2, stop=stop)
    # at update 7 that is the checkpoint made before the evaluation of the first epoch, which is then made twice
    checkpoint = sorted((out / "checkpoints").glob("*-0000.pt" if stop == 7 else "*.pt"))[-1]
    fit_toy(plugins(name, tmp_path), resume=checkpoint, checkpoint_every=2)
    actual = curves(name, out)
    actual.pop("train/skipped")
    assert actual == recorded(out)
    assert [update for update, _ in actual["train/loss"]] == list(range(1, 13))


@pytest.mark.parametrize("name", TRACKERS)
@pytest.mark.filterwarnings("ignore:resume=.*was never finished")
@pytest.mark.slow
def test_a_killed_run_goes_on_where_it_was(name: str, tmp_path: Path) -> None:
    out = tmp_path / "run"
    make_tracker(name, tmp_path)  # skips here what is not installed, and not in a fork
    if name == "wandb":
        pytest.importorskip("wandb").teardown()  # its process would be that of the runs to be killed too
    for step in (5, 9):
        resume: dict[str, Any] = {"out": out} if step == 5 else {"resume": out}
        ended = run_forked(lambda: fit_toy([*plugins(name, tmp_path), Kill(step)], checkpoint_every=2, **resume))  # noqa: B023
        assert ended.code == -signal.SIGKILL, ended.stderr
    fit_toy(plugins(name, tmp_path), resume=out)
    actual = curves(name, out)
    actual.pop("train/skipped")
    assert actual == recorded(out)


@pytest.mark.parametrize("name", TRACKERS)
def test_without_a_directory_it_says_so_and_writes_nothing(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.warns(AccelWarning, match=rf"^{name} has no effect: nothing is written without out=DIR"):
        fit_toy([make_tracker(name, tmp_path)])
    fit_toy([make_tracker(name, tmp_path)], dry_run=True)
    fit_toy([make_tracker(name, tmp_path)], out=tmp_path / "run", dry_run=True)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", TRACKERS)
def test_nothing_is_read_on_the_host(name: str, tmp_path: Path) -> None:
    run = fit_toy([make_tracker(name, tmp_path), AMP(**FP16), "adamw"], out=tmp_path / "run", overflow=[3], counts=True)
    assert run.spy.reads.count == 0, run.spy.reads.places


@pytest.mark.parametrize("name", TRACKERS)
@pytest.mark.slow
def test_each_job_of_a_multirun_has_its_own_curves(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_tracker(name, tmp_path)  # skips here what is not installed
    pytest.importorskip("sklearn", reason="needs the extra demo")
    monkeypatch.chdir(tmp_path)
    settings = {"wandb": ["plugins.wandb.mode=offline"], "mlflow": [f"plugins.mlflow.tracking_uri={tmp_path / 'sweep' / 'mlruns'}"]}
    quiet = ["epochs=1", "device=cpu", "~plugins.progress", "plugins.metrics.curves=false", "plugins.metrics.report=false"]
    assert main(["-m", "seed=0,1", *quiet, f"+plugins=[{name}]", *settings.get(name, []), "out=sweep"]) == 0
    both = [curves(name, tmp_path / "sweep" / job) for job in "01"]
    for job, actual in zip("01", both, strict=True):
        assert actual == recorded(tmp_path / "sweep" / job)
    assert both[0]["train/loss"] != both[1]["train/loss"]
