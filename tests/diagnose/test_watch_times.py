"""Watches are timed in a fork that can write nothing: whatever they do, all is afterwards what it was."""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import sleep
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from accel import Trainer
from accel.diagnose.doctor import doctor, measured_run
from accel.diagnose.probes.probed_run import ProbedRun
from accel.diagnose.watch_trial import watch_times
from accel.diagnose.watch_trial.watch_times import WatchTimes, time_watches
from accel.diagnose.watch_trial.write_lock import can_lock_writes
from accel.engine.sandbox import sandbox
from accel.parts import Watch
from accel.plugins.metrics import Metrics
from accel.plugins.norms import Norms
from accel.plugins.progress import Progress

pytestmark = pytest.mark.skipif(not can_lock_writes(), reason="this system cannot keep a process from writing")


def loss(model: nn.Module, batch: Any) -> Tensor:
    return model(batch[0]).square().mean()


@contextmanager
def probed() -> Iterator[ProbedRun]:
    trainer = Trainer(nn.Linear(8, 2), TensorDataset(torch.randn(64, 8)), loss=loss, batch_size=16, watch=())
    with measured_run(trainer) as (run, _), sandbox(run) as windows:
        yield ProbedRun(run, windows, 1.0)


def times(*watches: Watch, out: str | None = None) -> WatchTimes:
    with probed() as run:
        weight = run.run.unwrapped_model.weight
        before, threads = weight.detach().clone(), torch.get_num_threads()
        measured = time_watches(run, watches, out, 0.2)
        assert torch.equal(weight, before)
        assert run.run.watches == []
        assert torch.get_num_threads() == threads
    return measured


@dataclass(eq=False)
class Writing(Watch):
    """A watch that writes in all ways that people know."""

    folder: str = ""

    def begin(self, run: Any) -> None:
        self.model, self.out, self.seen = run.unwrapped_model, run.out, 0
        self.out.mkdir(parents=True, exist_ok=True)
        self.log = open("log.csv", "w")  # noqa: SIM115

    def after(self, step: int, loss: Tensor) -> None:
        self.seen += 1
        self.log.write(f"{step},{loss.item()}\n")
        self.log.flush()
        os.fsync(self.log.fileno())
        history = self.out / "history.txt"
        text = history.read_text() if self.seen > 1 else ""
        history.write_text(f"{text}{step}\n")
        assert history.read_text().count("\n") == self.seen
        with open(Path(self.folder, "there"), "a") as file:
            file.write("more")
        torch.save(self.model.state_dict(), Path(self.folder, "weights.pt.new"))
        os.replace(Path(self.folder, "weights.pt.new"), Path(self.folder, "weights.pt"))
        assert torch.load(Path(self.folder, "weights.pt")).keys() == self.model.state_dict().keys()
        os.remove(Path(self.folder, "there"))


def test_what_a_watch_writes_is_written_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    here.mkdir()
    elsewhere.mkdir()
    (elsewhere / "there").write_text("before")
    monkeypatch.chdir(here)
    watch = Writing(str(elsewhere))
    measured = times(watch, out=str(tmp_path / "run"))
    assert measured.unmeasured == {}
    assert measured.seconds["writing"] > 0
    assert not hasattr(watch, "seen")
    assert list(here.iterdir()) == []
    assert [path.name for path in elsewhere.iterdir()] == ["there"]
    assert (elsewhere / "there").read_text() == "before"
    assert not (tmp_path / "run").exists()


@dataclass(eq=False)
class Waiting(Watch):
    """A watch that takes its time in every so many updates."""

    every: int = 1

    def after(self, step: int, loss: Tensor) -> None:
        if step % self.every == 0:
            sleep(0.1)  # waits


def test_time_is_that_of_an_update_and_the_line_is_named() -> None:
    measured = times(Waiting(), Progress(), Metrics())
    assert measured.seconds["waiting"] >= 0.1
    assert set(measured.seconds) == {"waiting", "progress", "metrics"}
    assert measured.line is not None
    assert measured.line.text.endswith("sleep(0.1)  # waits")
    assert 0.01 < times(Waiting(every=4)).seconds["waiting"] < 0.1, "some updates take longer than others: their mean counts"


def test_a_watch_that_looks_at_gradients_is_timed_within_the_update() -> None:
    measured = times(Norms())
    assert measured.unmeasured == {}
    assert measured.seconds["norms"] > 0


def connect(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


def create(path: Path) -> None:
    """Past Python, as libraries of C do."""
    if ctypes.CDLL(None).creat(str(path).encode(), 0o600) < 0:
        raise OSError("could not be created")


@dataclass(eq=False)
class Doing(Watch):
    """A watch that does something else."""

    what: Any = None
    folder: str = ""

    def after(self, step: int, loss: Tensor) -> None:
        self.what(Path(self.folder, "new"))


@pytest.mark.parametrize(
    ("what", "why"),
    [
        (connect, "PermissionError: it talks to another process"),
        (lambda path: subprocess.run(["touch", path]), "PermissionError: it starts a process"),
        (create, "OSError: could not be created"),
        (lambda path: os._exit(1), "it ended the process, or never came back"),
    ],
)
def test_a_watch_that_would_be_noticed_is_left_out(what: Any, why: str, tmp_path: Path) -> None:
    measured = times(Doing(what, str(tmp_path)))
    assert measured.unmeasured == {"doing": why}
    assert list(tmp_path.iterdir()) == []


def test_a_watch_that_never_comes_back_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch_times, "PATIENCE", 0.0)
    assert times(Doing(lambda path: sleep(3600))).unmeasured == {"doing": "it ended the process, or never came back"}


def test_the_page_says_which_watch_was_not_measured() -> None:
    watch = Doing(lambda path: subprocess.run(["touch", path]))
    data = TensorDataset(torch.randn(64, 8))
    diagnosis = doctor(Trainer(nn.Linear(8, 2), data, loss=loss, batch_size=16, watch=[watch]), seconds=1.0)
    assert "the watch doing was not measured: PermissionError: it starts a process" in repr(diagnosis)
    assert diagnosis.figures.watches == {}


def test_a_watch_that_takes_most_of_the_time_is_what_the_doctor_names() -> None:
    trainer = Trainer(nn.Linear(8, 2), TensorDataset(torch.randn(64, 8)), loss=loss, batch_size=16, watch=[Waiting()])
    diagnosis = doctor(trainer, seconds=1.0)
    assert diagnosis.verdict.kind == "watch-bound", diagnosis
    assert "waiting takes " in diagnosis.verdict.sentence
    assert diagnosis.split.seconds["watches"] == pytest.approx(sum(diagnosis.figures.watches.values()))
