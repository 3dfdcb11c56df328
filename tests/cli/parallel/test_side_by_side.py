"""Jobs at the same time, each in a process of its own: what they learn, and what becomes of one that fails or is killed."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from accel.cli.compose.compose import compose
from accel.cli.exit_codes import INTERRUPTED
from accel.cli.job import Job
from accel.cli.launch import launch
from accel.cli.parallel.job_lines import JobLines
from accel.cli.parallel.joblib_launcher import JoblibLauncher
from accel.cli.parallel.machine_shares import MachineShare
from accel.cli.parallel.side_by_side import run_side_by_side
from accel.system.stop_signals import StopSignals
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow
TASK = """
import os, signal
from pathlib import Path
import torch
from torch import nn
from torch.utils.data import TensorDataset
from accel import Trainer


class Points(Trainer):
    def __init__(self, fail: str = "", **run):
        super().__init__(**run)
        self.fail, self.calls = fail, 0

    def model(self):
        return nn.Linear(4, 2)

    def data(self, split):
        points = torch.randn(64, 4, generator=torch.Generator().manual_seed(0))
        return TensorDataset(points, (points.sum(1) > 0).long())

    def loss(self, model, batch):
        self.calls += model.training
        match self.fail if self.calls == 2 else "":
            case "raise":
                raise ZeroDivisionError("by nothing")
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "wait":
                Path(f"waits-{os.getpid()}").touch()
                signal.pause()
            case "stay":
                Path(f"waits-{os.getpid()}").touch()
                for _ in range(9):
                    signal.pause()
                    Path(f"told-{os.getpid()}").touch()
            case "gpus":
                print("sees", os.environ.get("CUDA_VISIBLE_DEVICES"), "and", torch.get_num_threads(), "threads")
        return nn.functional.cross_entropy(model(batch[0]), batch[1])
"""
QUIET = ["task._target_=points_task_beside.Points", "epochs=2", "batch_size=16", "device=cpu", "~plugins.progress"]
QUIET += ["plugins.metrics.curves=false", "plugins.metrics.report=false"]


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "points_task_beside", raising=False)
    (tmp_path / "points_task_beside.py").write_text(TASK)
    return tmp_path


def run(fails: Sequence[str], places: int = 2, out: str | None = "sweep") -> tuple[list[Job], StopSignals]:
    jobs = []
    for number, fail in enumerate(fails):
        words = [*QUIET, f"seed={number}", *([f"task.fail={fail}"] if fail else [])]
        jobs.append(Job(compose(words), None if out is None else Path(out, str(number)), ["accel-train"]))
    with StopSignals() as signals:
        begun = run_side_by_side(jobs, [MachineShare((), 1)] * places, signals, JobLines("accel.log", len(jobs)))
        signals.requested, requested = None, signals.requested
    signals.requested = requested
    return begun, signals


def learnt(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in ("model.safetensors", "metrics.jsonl")}


def test_they_learn_what_they_learn_one_after_the_other(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    seeds = [compose([*QUIET, f"seed={number}", "out=one"]) for number in range(4)]
    beside = [compose([*QUIET, f"seed={number}", "out=beside"]) for number in range(4)]
    folders = list("0123")
    assert launch(seeds, [], folders) == 0
    capfd.readouterr()
    assert launch(beside, [], folders, JoblibLauncher(2, "mine")) == 0
    for folder in folders:
        assert learnt(place / "one" / folder) == learnt(place / "beside" / folder)
        assert (place / "beside" / folder / "mine.log").exists()
    shown = capfd.readouterr()
    assert "4 jobs, 2 at a time, each with" in shown.err
    assert shown.err.count(" begins: ") == shown.err.count(" is done after ") == 4
    assert "4 seeds" in shown.out


def test_one_that_fails_or_is_killed_ends_no_other(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    jobs, _ = run(["raise", "kill", "", ""])
    assert [job.code for job in jobs] == [1, 1, 0, 0]
    assert jobs[1].error == "its process was killed by SIGKILL"
    assert "ZeroDivisionError: by nothing" in jobs[0].error
    assert "ZeroDivisionError" in (place / "sweep/0/accel.log").read_text()
    text = capfd.readouterr().err
    assert "job 2 of 4 failed after" in text
    assert "its process was killed by SIGKILL; what it printed is in sweep/1/accel.log" in text
    assert json.loads((place / "sweep/3/summary.json").read_text())["updates"] == 8


def test_a_job_without_a_directory_prints_when_it_is_done(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    jobs, _ = run(["gpus"], out=None)
    assert jobs[0].code == 0
    assert "sees None and 1 threads" in capfd.readouterr().err
    assert not list(place.glob("**/*.log"))


def strike(number: signal.Signals, *files: str) -> int:
    """A child that strikes this process each time that two files of a kind are there."""
    parent, child = os.getpid(), os.fork()
    if child == 0:
        try:
            for name in files:
                wait_until(lambda name=name: len(list(Path().glob(f"{name}-*"))) == 2, name)  # type: ignore[misc]
                os.kill(parent, number)
        finally:
            os._exit(0)
    return child


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_those_that_run_save_and_begins_no_other(number: signal.Signals, place: Path) -> None:
    child = strike(number, "waits")
    jobs, signals = run(["wait", "wait", "", ""])
    os.waitpid(child, 0)
    assert signals.requested == number
    assert [job.code for job in jobs] == [75, 75]
    assert all(list(place.glob(f"sweep/{folder}/checkpoints/*.json")) for folder in (0, 1))


def test_a_second_interrupt_kills_them(place: Path) -> None:
    child = strike(signal.SIGINT, "waits", "told")
    jobs, _ = run(["stay", "stay", ""])
    os.waitpid(child, 0)
    assert [(job.code, job.error) for job in jobs] == [(INTERRUPTED, "interrupted")] * 2
    for file in place.glob("waits-*"):
        with pytest.raises(ProcessLookupError):
            os.kill(int(file.name.partition("-")[2]), 0)
