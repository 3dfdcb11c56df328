"""Whole runs of the command line, in this process: exit codes, what is written, resuming, several jobs, the user's errors."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
import yaml

import accel
from accel.cli.compose.compose import compose
from accel.cli.job import Job
from accel.cli.train_command import main
from accel.engine.run_directory import RunLock
from accel.system.shell_quoting import override

MINE = """
from typing import Any
import torch
from torch import nn
from torch.nn import functional as F
from accel import Trainer

class Tiny(Trainer):
    def __init__(self, bad: str = "", **run: Any) -> None:
        super().__init__(**run)
        self.bad = bad

    def model(self) -> nn.Module:
        return nn.Linear(4, 2)

    def data(self, split: str) -> Any:
        if self.bad == "interrupt":
            raise KeyboardInterrupt
        if self.bad == "data":
            open_the_cupboard()
        x = torch.linspace(-1, 1, 64).view(16, 4)
        return torch.utils.data.TensorDataset(x, (x.sum(1) > 0).long())

    def loss(self, model: nn.Module, batch: Any) -> Any:
        x, y = batch
        if self.bad == "loss":
            x = x[:, :3]
        loss = F.cross_entropy(model(x), y)
        return loss * torch.inf if self.bad == "infinite" and y.sum() == 0 else loss

def open_the_cupboard() -> None:
    try:
        {}["nothing"]
    except KeyError as error:
        raise RuntimeError("the cupboard is bare") from error
"""
TASK = "task._target_=mine.Tiny"


@pytest.fixture(autouse=True)
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current directory but for a module with a task."""
    (tmp_path / "mine.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def written(root: Path) -> list[str]:
    return sorted(
        str(path.relative_to(root)) for path in root.rglob("*") if "mine.py" not in path.name and "__pycache__" not in str(path)
    )


@pytest.mark.slow
def test_a_run_writes_its_directory_and_says_how_to_go_on(mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([TASK, "epochs=2", "out=run", "+plugins=[adamw,clip]", "~plugins.progress"]) == 0
    kept = yaml.safe_load((mine / "run/config.yaml").read_text())
    assert kept["epochs"] == 2
    assert set(kept["plugins"]) == {"adamw", "clip", "metrics"}
    summary = json.loads((mine / "run/summary.json").read_text())
    assert summary["epochs"] == 2
    words = shlex.split(summary["resume"])
    assert words[-1] == "resume=run"
    assert "out=run" not in words
    assert {"+plugins=[adamw,clip]", "epochs=2", TASK, "~plugins.progress"} <= set(words)
    more = [word.replace("epochs=2", "epochs=3") for word in words[words.index(TASK) :]]
    assert main(more) == 0, capsys.readouterr()
    assert json.loads((mine / "run/summary.json").read_text())["epochs"] == 3


@pytest.mark.parametrize("out", ["two words", "it's", 'say "hi"', "a, b", "é", "2024", "back\\\\"])
@pytest.mark.slow
def test_the_printed_resume_command_reads_back_whatever_the_name(out: str, mine: Path) -> None:
    """The name passes through the shell and through Hydra, which each have quotes of their own."""
    assert main([TASK, *shlex.split(override("out", out)), "epochs=1", "~plugins.progress"]) == 0
    words = shlex.split(json.loads((mine / out / "summary.json").read_text())["resume"])
    assert main([*words[words.index(TASK) :], "epochs=2"]) == 0
    assert json.loads((mine / out / "summary.json").read_text())["epochs"] == 2
    assert accel.compose(shlex.split(override("resume", out))).settings.resume == out


@pytest.mark.slow
def test_the_default_directory_is_dated_and_never_used_twice(mine: Path) -> None:
    for _ in range(3):
        assert main([TASK, "~plugins.progress"]) == 0
    runs = [path for path in (mine / "outputs").glob("*/*") if (path / "summary.json").exists()]
    assert len(runs) == 3


@pytest.mark.slow
def test_a_directory_named_after_the_time_that_another_run_has_taken_is_not_this_ones(mine: Path) -> None:
    other = mine / "outputs/2026-01-31/12-59-59"
    other.mkdir(parents=True)
    claim = RunLock()
    claim.acquire(other)  # it began in the same second, before this one had anything to write
    outcome = Job(compose([TASK, "~plugins.progress"]), other, ["accel-train"])
    assert outcome.run() == 0
    claim.release()
    assert outcome.out not in (None, other)
    assert not any(other.iterdir())


@pytest.mark.slow
def test_resume_auto_takes_the_newest_run(mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([TASK, "resume=auto"]) == 2
    assert "resume=auto: no run in outputs/ has a checkpoint" in capsys.readouterr().err
    assert not (mine / "outputs").exists()
    assert main([TASK, "epochs=1", "~plugins.progress"]) == 0
    assert main([TASK, "epochs=2", "resume=auto", "~plugins.progress"]) == 0
    (run,) = (mine / "outputs").glob("*/*")
    assert json.loads((run / "summary.json").read_text())["epochs"] == 2


def test_several_jobs_do_not_all_go_on_with_the_newest_run(mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([TASK, "epochs=1", "~plugins.progress"]) == 0
    assert main(["--multirun", TASK, "epochs=2,3", "resume=auto"]) == 2
    assert "resume=auto takes one run, and these are several: add out=DIR" in capsys.readouterr().err


@pytest.mark.slow
def test_the_written_config_starts_the_same_run(mine: Path) -> None:
    assert main([TASK, "epochs=2", "out=one", "+plugins=[adamw]", "plugins.adamw.lr=0.01", "~plugins.progress"]) == 0
    assert main(["--config-path", "one", "out=two"]) == 0
    one, two = (json.loads((mine / name / "summary.json").read_text()) for name in ("one", "two"))
    assert one["loss"] == two["loss"]


def test_dry_run_writes_nothing(mine: Path) -> None:
    assert main([TASK, "dry_run=true", "out=run"]) == 0
    assert written(mine) == []


@pytest.mark.parametrize(
    "words",
    ["epoch=3", "lr=0.1", "--epochs 5", "plugins.amp.dtype=float16", "~plugins.amp",
     "plugins=[ampp]", "+plugins=[adamw,sgd]", "--hlep", "foo", "task=imagse", "--config-dir nowhere", "device=cuda:x",
     "--multirun plugins=[],[ampp]", "--multirun seed=interval(0,1)", "--cfg jb", "--cfg job epochs=x", "--cfg job --package nope",
     "--config-path nowhere", "--package task", "--resolve", "task.root=~/x", "out=é", "plugins=[],[amp]", "~experiment",
     "--shell-completion install=csh", "--experimental-rerun x.pickle", "--config-name nope", "hydra.job.nmae=x"],
)  # fmt: skip
def test_what_cannot_work_is_one_sentence_and_leaves_nothing(words: str, mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([TASK, *words.split()] if "task" not in words else words.split()) == 2
    message = capsys.readouterr()
    assert message.err.startswith("accel: error: ")
    assert message.err.count("\n") == 1
    assert message.out == ""
    assert written(mine) == []


@pytest.mark.slow
def test_a_bad_job_stops_a_multirun_before_the_first(mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([TASK, "--multirun", "plugins=[],[clip],[clpi]"]) == 2
    assert "no plugin is called 'clpi'; did you mean 'clip'?" in capsys.readouterr().err
    assert main([TASK, "--multirun", "epochs=1,2,0"]) == 2
    assert f"job 3 of 3 ({TASK} epochs=0): epochs must be" in capsys.readouterr().err
    assert written(mine) == []


@pytest.mark.slow
def test_a_multirun_ends_with_a_table(mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([TASK, "-m", "plugins=[],[clip]", "epochs=1,2", "~plugins.progress"]) == 0
    table = capsys.readouterr().out
    for job in ("plugins=[] epochs=1", "plugins=[] epochs=2", "plugins=[clip] epochs=1", "plugins=[clip] epochs=2"):
        assert job in table, table
    assert "val loss" in table
    assert "-: too few updates to tell" in table, "tests/report/test_comparison.py has longer runs"
    assert "~plugins.progress" not in table, "what all jobs share is left out"
    (base,) = (mine / "outputs").glob("*/*")
    assert sorted(path.name for path in base.iterdir()) == ["0", "1", "2", "3"]


@pytest.mark.slow
def test_a_job_that_fails_leaves_the_others_their_results(mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([TASK, "--multirun", "task.bad=loss,''", "~plugins.progress"]) == 1
    message = capsys.readouterr()
    assert "RuntimeError" in message.out
    assert "task.bad=''" in message.out
    assert "cannot be multiplied" in message.err


def test_the_users_exception_shows_the_users_frames(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    assert main([TASK, "task.bad=loss", "~plugins.progress"]) == 1
    message = capsys.readouterr().err
    assert "mine.py" in message
    assert "loss = F.cross_entropy(model(x), y)" in message
    assert "trainer.py" not in message
    assert "torch/nn" not in message
    assert "RuntimeError: mat1 and mat2" in message
    assert main([TASK, "task.bad=data", "~plugins.progress"]) == 1
    message = capsys.readouterr().err
    assert "KeyError: 'nothing'" in message, "the cause is kept"
    assert "RuntimeError: the cupboard is bare" in message
    assert "accel/" not in message.replace("accel: ", "")
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    assert main([TASK, "task.bad=data", "~plugins.progress"]) == 1
    assert "build.py" in capsys.readouterr().err


@pytest.mark.slow
def test_a_run_that_cannot_go_on_says_so_in_a_sentence(mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    guarded = [TASK, "task.bad=infinite", "batch_size=2", "epochs=2", "+plugins=[finite_guard]", "~plugins.progress"]
    assert main([*guarded, "plugins.finite_guard.in_a_row=1", "checkpoint.every=1", "out=run"]) == 1
    message = capsys.readouterr().err
    assert "Traceback" not in message
    assert message.startswith("accel: error: finite_guard: the loss or a gradient was not finite in update ")
    assert re.search(r" resume=run/checkpoints/update-\d{8}-epoch-\d{4}\.pt$", message.rstrip()), "the last that is proven finite"
    assert main(["--multirun", *guarded, "plugins.finite_guard.in_a_row=1,1000", "out=runs"]) == 1
    table = " ".join(capsys.readouterr().out.split())
    assert "failed: finite_guard: the loss" in table


@pytest.mark.slow
def test_an_interrupt(mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([TASK, "task.bad=interrupt"]) == 130
    assert "accel: interrupted\n" in capsys.readouterr().err
    assert main([TASK, "out=run", "~plugins.progress"]) == 0
    assert main([TASK, "resume=run", "epochs=3", "task.bad=interrupt"]) == 130
    assert capsys.readouterr().err.rstrip().endswith("task.bad=interrupt resume=run")


def test_an_interrupted_job_says_so_in_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([TASK, "--multirun", "task.bad='',interrupt", "epochs=1", "out=run", "~plugins.progress"]) == 130
    assert "failed: interrupted" in capsys.readouterr().out


@pytest.mark.slow
def test_resuming_what_is_done_warns(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([TASK, "epochs=2", "out=run", "~plugins.progress"]) == 0
    assert main([TASK, "epochs=1", "resume=run", "~plugins.progress"]) == 0
    assert "resume=run: 2 epochs are done already, so epochs=1 trains no more" in capsys.readouterr().err


def test_compose_in_a_notebook_shows_itself_and_leaves_no_state() -> None:
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.hydra_config import HydraConfig
    from hydra.core.singleton import Singleton

    before = {kind: Singleton._instances.get(kind) for kind in (GlobalHydra, HydraConfig)}
    config = accel.compose([TASK, "+plugins=[clip]", "plugins.clip.max_norm=0.5", "~plugins.progress"])
    assert {kind: Singleton._instances.get(kind) for kind in before} == before
    for shown in (repr(config), config._repr_html_()):
        assert "clip" in shown
        assert "max_norm=0.5" in shown
        assert "mine.Tiny" in shown
    assert config.fit().epochs == config.settings.epochs


def test_compose_inside_another_hydra_program() -> None:
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    from accel.cli.compose.hydra_session import CONF

    with initialize_config_dir(str(CONF), version_base="1.2"):
        theirs = GlobalHydra.instance().hydra
        accel.compose(["epochs=3"])
        assert GlobalHydra.instance().hydra is theirs
        assert compose("config", ["epochs=5"]).epochs == 5


def test_arguments_of_the_trainer_override_the_settings(mine: Path) -> None:
    """A multirun makes one unseen update first, in just this way, and says nothing where it fails."""
    config = accel.compose([TASK, "+plugins=[clip]", "epochs=3"])
    assert config.trainer(dry_run=True, out=None, resume=None, watch=()).fit().dry
    assert list(mine.glob("outputs")) == []


@pytest.mark.slow
def test_a_supervisors_loop_works_from_the_first_start(mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """until python -m accel.train out=run resume=auto; do :; done"""
    words = [TASK, "out=run", "resume=auto", "epochs=2", "~plugins.progress"]
    assert main([*words, "task.bad=loss"]) == 1
    assert main(words) == 0
    assert capsys.readouterr().err.count("accel: warning: resume=auto: run holds no checkpoint yet; the run begins\n") == 2
    assert main(words) == 0, "a finished run is done again at once"
    assert capsys.readouterr().err == ""
    assert json.loads((mine / "run/plan.json").read_text())["facts"]["resume"].endswith(" of run")


@pytest.mark.slow
def test_resume_and_what_it_allows_go_together(mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([TASK, "out=run", "epochs=1", "~plugins.progress"]) == 0
    other = [TASK, "out=run", "resume=auto", "epochs=2", "+plugins=[adamw]", "seed=3", "~plugins.progress"]
    assert main(other) == 2
    message = capsys.readouterr().err
    assert message == (
        "accel: error: resume=auto: seed was 0 and is now 3; plugins.adamw was off and is now on; go on with what the run began "
        "with, or accept the change: 'resume.allow=[seed,plugins.adamw]'\n"
    )
    allow = shlex.split(message.rpartition(": ")[2])
    assert main([*allow, *other]) == 0, "in any order"
    config = accel.compose(["resume.allow=task", "resume=auto", "out=run"])
    assert (config.settings.resume, config.settings.allow) == ("auto", ["task"])
    assert "resume.allow=['task']" in config.settings_line()
    assert accel.compose(["resume=auto", "+resume.allow=[task,plugins.adamw.lr]"]).settings.allow == ["task", "plugins.adamw.lr"]
    for wrong, why in {
        "resume.alow=[task]": "did you mean 'resume.allow'?", "resume.allow=3": "resume.allow must be a list, not 3",
        "resume.allow=[3]": "not 3", "resume.allow=[sede]": "did you mean 'seed'?",
    }.items():  # fmt: skip
        assert main([*other, wrong]) == 2
        assert why in capsys.readouterr().err


@pytest.mark.slow
def test_a_run_that_could_not_be_saved_at_the_end_fails_and_says_so(mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from accel.system.faults import armed

    def full() -> None:
        raise OSError(28, "No space left on device")

    armed["saving.weights.written"] = full
    try:
        assert main([TASK, "out=run", "epochs=1", "~plugins.progress"]) == 1
    finally:
        del armed["saving.weights.written"]
    message = capsys.readouterr().err
    cause = "the run is done, and could not be saved (model.safetensors: the disk is full); make room; go on"
    assert f"accel: error: {cause}" in message
    assert message.rstrip().endswith("resume=run")
    assert json.loads((mine / "run/summary.json").read_text())["unsaved"] == {"model.safetensors": "the disk is full"}
    assert main([TASK, "resume=run", "epochs=1", "~plugins.progress"]) == 0
    assert (mine / "run/model.safetensors").exists()
