"""What the command line makes of signals, of a reader that leaves, of a full disk, and of a plugin that fails."""

from __future__ import annotations

import errno
import multiprocessing as mp
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from accel.cli.train_command import main
from tests.support.drill_length import LONG

MINE = """
import os, signal
from dataclasses import dataclass
import torch
from accel import Trainer
from accel.parts import (Activations, Augment, Autocast, Average, Backend, Clip, Compile, Group, Guard, Layout, Loader, Objective,
                         Optim, Parallel, Precision, Prefetch, Probe, Rate, Schedule, Source, Transfer, Update, Watch)

class Rows(torch.utils.data.Dataset):
    def __len__(self): return 16
    def __getitem__(self, index):
        return torch.linspace(-1, 1, 4) * index, index % 2

class Mine(Trainer):
    def model(self): return torch.nn.Linear(4, 2)
    def data(self, split): return Rows()
    def loss(self, model, batch): return torch.nn.functional.cross_entropy(model(batch[0]), batch[1])

class Diverges(Mine):
    # from its sixth update on, and no more once there is a file `mended`: what it counts comes back with the checkpoint
    def loss(self, model, batch):
        self.calls = getattr(self, "calls", 0) + 1
        return super().loss(model, batch) * (float("inf") if self.calls > 5 and not os.path.exists("mended") else 1.0)

@dataclass(eq=False)
class Asks(Watch):
    update: int = 3
    place: str = "after"
    def setup(self, run):
        if self.place == "setup":
            os.kill(os.getpid(), signal.SIGTERM)
    def after(self, step, loss):
        if step == self.update and self.place == "after":
            os.kill(os.getpid(), signal.SIGTERM)
    def end(self, result):
        if self.place == "end":
            os.kill(os.getpid(), signal.SIGTERM)

class Tidy(Watch):
    def close(self):
        open("closed", "w").close()

class Full(Watch):
    def after(self, step, loss):
        if step == 3:
            raise OSError({full}, "No space left on device", "metrics.jsonl")
"""

RAISES = """
@dataclass(eq=False)
class Bad(PART):
    def METHOD(self, *args, **settings):
        raise RuntimeError("the cupboard is bare")
"""
TASK = ["task._target_=mine.Mine", "epochs=2", "batch_size=4", "+plugins=[workers]", "plugins.workers.count=1"]
NO_PAGE = ["plugins.metrics.curves=false", "plugins.metrics.report=false"]


@pytest.fixture(autouse=True)
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "mine.py").write_text(MINE.replace("{full}", str(errno.ENOSPC)))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


@pytest.mark.slow
def test_75_and_the_command_that_goes_on(mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asks = [*TASK, "+plugins.asks._target_=mine.Asks", "out=the run"]
    assert main(asks) == 75
    message, command = capsys.readouterr().err.rstrip().splitlines()
    assert message == "accel: stopped by SIGTERM after update 3; go on with"
    assert main(shlex.split(command)[3:]) == 0
    assert (mine / "the run/model.safetensors").exists()


@pytest.mark.slow
def test_75_while_it_starts_and_the_command_that_begins_again(mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asks = [*TASK, "+plugins.asks._target_=mine.Asks", "out=run"]
    assert main([*asks, "+plugins.asks.place=setup"]) == 75
    message, command = capsys.readouterr().err.rstrip().splitlines()
    assert message == "accel: stopped by SIGTERM while it was starting; begin again with"
    assert shlex.split(command)[-2:] == ["out=run", "+plugins.asks.place=setup"]
    assert main(asks) == 75
    capsys.readouterr()
    assert main([*asks, "resume=run", "+plugins.asks.place=setup"]) == 75
    assert capsys.readouterr().err.rstrip().endswith("resume=run"), "what was saved before is gone on with"


@pytest.mark.slow
def test_done_is_done_and_no_further_job_begins(mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asks = [*TASK, "+plugins.asks._target_=mine.Asks"]
    assert main([*asks, "+plugins.asks.place=end", "out=run"]) == 0
    assert (mine / "run/summary.json").exists()
    assert main([*asks, "--multirun", "+plugins.asks.place=end,setup", "out=runs"]) == 75, "a job is left out"
    assert not (mine / "runs/1").exists()
    assert main([*asks, "--multirun", "seed=0,1", "out=more"]) == 75
    assert "job 2" not in capsys.readouterr().err


@pytest.mark.parametrize("both", [True, *[False] * LONG])
@pytest.mark.slow
def test_a_reader_that_leaves_does_not_end_the_run(both: bool, mine: Path) -> None:
    words = [sys.executable, "-m", "accel.train", *TASK, "out=run", "plugins.progress.every=0.001", *NO_PAGE]
    err = subprocess.STDOUT if both else subprocess.PIPE
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=err, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        message = process.stderr.read() if process.stderr else ""
    assert process.returncode == 0, message
    assert message == ""
    assert (mine / "run/summary.json").exists()


def test_a_full_disk_is_a_sentence(mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*TASK, "+plugins.full._target_=mine.Full", "out=run", "checkpoint.every=2"]) == 1
    message = capsys.readouterr().err
    assert message.startswith("accel: error: No space left on device: metrics.jsonl; make room; go on with\n")
    assert message.rstrip().endswith("resume=run")


@pytest.mark.slow
def test_a_run_that_diverged_names_the_last_finite_checkpoint_in_its_command(
    mine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = ["task._target_=mine.Diverges", "epochs=2", "batch_size=4", "+plugins=[finite_guard]", "plugins.finite_guard.in_a_row=2"]
    assert main([*task, "out=the run"]) == 1
    message, command = capsys.readouterr().err.rstrip().splitlines()
    last = "the run/checkpoints/update-00000004-epoch-0001.pt"
    assert message.endswith(f"; the last checkpoint that is proven finite is {last}; go on with")
    assert shlex.split(command)[-1] == f'resume="{last}"'
    (mine / "mended").touch()
    assert main(shlex.split(command)[3:]) == 0
    assert (mine / "the run/model.safetensors").exists()


METHODS = [
    ("Backend", "apply"), ("Backend", "restore"), ("Source", "open"), ("Loader", "open"), ("Loader", "epoch"), ("Loader", "close"),
    ("Prefetch", "ahead"), ("Prefetch", "close"), ("Group", "windows"), ("Transfer", "windows"), ("Transfer", "batch"),
    ("Layout", "model"), ("Compile", "model"), ("Activations", "model"), ("Parallel", "model"), ("Parallel", "sync"),
    ("Precision", "cast"), ("Precision", "backward"), ("Precision", "gradients"), ("Precision", "adapt"), ("Rate", "setup"),
    ("Optim", "step"), ("Optim", "state_dict"), ("Schedule", "apply"), ("Guard", "check"), ("Clip", "limit"),
    ("Objective", "__call__"), ("Augment", "windows"), ("Average", "update"), ("Average", "weights"), ("Update", "__call__"),
    ("Probe", "explore"), ("Watch", "setup"), ("Watch", "begin"), ("Watch", "after"), ("Watch", "evaluated"), ("Watch", "end"),
    ("Watch", "close"), ("Watch", "state_dict"), ("Watch", "plan_notes"), ("Watch", "ineffective_settings"),
    ("Watch", "__post_init__"),
]  # fmt: skip


@pytest.mark.parametrize(("part", "method"), METHODS if LONG else METHODS[::3])
@pytest.mark.slow
def test_a_plugin_that_fails_is_named_with_its_method(
    part: str, method: str, mine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (mine / "mine.py").open("a") as file:
        file.write(RAISES.replace("PART", part).replace("METHOD", method))
    task = TASK[:3] if part == "Loader" else TASK
    bad = ["+plugins.bad._target_=mine.Bad", "+plugins.tidy._target_=mine.Tidy", "~plugins.progress"]
    assert main([*task, *bad, "out=run"]) == 1
    first, *rest = capsys.readouterr().err.splitlines()
    assert first == f"accel: error: the plugin bad failed in {method}:"
    assert rest[-1] == "RuntimeError: the cupboard is bare"
    assert any("Traceback" in line for line in rest), "a bug has its traceback"
    assert mp.active_children() == [], "no process is left"
    assert (mine / "closed").exists() or method == "__post_init__", "every other plugin was closed"


def test_the_users_own_failure_inside_a_plugin_is_not_the_plugins(mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (mine / "mine.py").read_text().replace("def loss(self, model, batch): return", "def loss(self, model, batch): 1 / 0;")
    (mine / "mine.py").write_text(text)
    assert main([*TASK, "plugins=[step_in_backward]", "out=run"]) == 1
    assert "failed in" not in capsys.readouterr().err
