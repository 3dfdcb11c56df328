"""`doctor --apply`: what is faster is kept and written, and the command that it says trains with it."""

from __future__ import annotations

import json
import os
import re
import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from accel.__main__ import main
from accel.cli.compose.compose import compose
from accel.cli.doctor import apply_remedies as command_module
from accel.cli.doctor.experiment_file import experiment_text, write_experiment
from accel.cli.exit_codes import exit_code
from accel.compare import Limits, SpeedRatio
from accel.diagnose import doctor as doctor_module
from accel.diagnose.decision.remedies import Possible, Remedy
from accel.diagnose.decision.run_overrides import Overrides
from accel.diagnose.decision.timing import Range
from accel.diagnose.trials import remedy_trials
from accel.diagnose.trials.batch_tuning import BatchStep, TunedBatch
from accel.diagnose.trials.count_search import SearchResult, SearchStep
from accel.diagnose.trials.reader_tuning import TunedReaders
from accel.diagnose.trials.tried_remedy import AppliedRemedies, TriedRemedy, Untried
from tests.support.drill_length import LONG

TASK = """
import time
import torch
from torch.nn import functional as F
from accel import Trainer

class Samples(torch.utils.data.Dataset):
    def __len__(self):
        return 96
    def __getitem__(self, index):
        time.sleep(0.005)
        return torch.full((8,), float(index)), index % 2

class Waiting(Trainer):
    def model(self):
        return torch.nn.Linear(8, 2)
    def data(self, split):
        return Samples() if split == "train" else None
    def loss(self, model, batch):
        return F.cross_entropy(model(batch[0]), batch[1])
"""


@pytest.mark.slow
@pytest.mark.skipif(not LONG, reason="measured on a quiet machine: make drill")
def test_what_is_faster_is_kept_written_and_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Samples that sleep: worker processes bring several times the speed, whatever else the machine does."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(remedy_trials, "LIMITS", Limits(min_rounds=8, max_rounds=8, seconds=1.0, step=1))
    (tmp_path / "mine.py").write_text(TASK)
    words = ["task._target_=mine.Waiting", "batch_size=4", "device=cpu"]
    assert exit_code(lambda: main(["doctor", "--json", "--apply", "--name", "fast", "--seconds", "10", *words])) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["verdict"]["kind"] == "data-bound"
    (kept, *_) = [one for one in document["applied"] if one["is_kept"]]
    assert kept["name"] == "workers"
    assert kept["measured"]["low"] > 1.05
    assert kept["tuned"]["searches"]["count"]["count"] > 2, "readers that sleep need no core"
    untried = [one["reason"] for one in document["untried"]]
    assert all(untried)
    file = tmp_path / "conf/experiment/fast.yaml"
    assert list(tmp_path.rglob("*.yaml")) == [file]
    assert "times as fast" in file.read_text()
    command = shlex.split(document["experiment"]["command"])
    assert command[:5] == ["python", "-m", "accel.train", "--config-dir", "conf"]
    config = compose(command[5:], config_dir="conf")
    assert config.plugins["workers"].settings["count"] == kept["tuned"]["searches"]["count"]["count"]
    assert exit_code(lambda: main(["doctor", "--apply", "--name", "fast", *words])) == 2
    assert "is there already" in capsys.readouterr().err


def ratio(middle: float = 1.4) -> SpeedRatio:
    return SpeedRatio(middle, middle - 0.1, middle + 0.1, 8)


def remedy(name: str, overrides: Overrides) -> Remedy:
    note = "products in bfloat16" if "amp" in overrides.plugins else ""
    possible = Possible(name, " ".join(overrides.words), ("data",), overrides=overrides, note=note)
    return Remedy(possible, Range(1.4, 1.3, 1.5), 3.0, Range(1.5, 1.4, 1.6))


def tried(is_kept: bool, overrides: Overrides, tuned: TunedReaders | None = None) -> TriedRemedy:
    return TriedRemedy(remedy("threads", overrides), overrides, ratio(), None, is_kept, tuned=tuned)


THREADS = Overrides(("threads",), (("plugins.threads.count", 8),))


def test_an_experiment_has_what_was_kept_and_says_what_each_brought() -> None:
    found = SearchResult(8, (SearchStep(4, 8, ratio(1.9)),), "16 bring nothing beyond the noise")
    fused = Overrides(settings=(("plugins.optimizer.args", {"fused": True, "eps": 1e-08}),))
    failed = TriedRemedy(remedy("x", Overrides(("x",))), Overrides(("x",)), reason="it cannot,\nsays it")
    outcomes = (
        tried(True, THREADS, TunedReaders("threads", THREADS.settings, {"count": found})), tried(False, Overrides(("compile",))),
        tried(True, Overrides(("amp",))), tried(True, fused), failed,
    )  # fmt: skip
    batch = TunedBatch(32, 64, (BatchStep(64, ratio(1.5), 10**6),), "128 bring nothing beyond the noise")
    text = experiment_text(AppliedRemedies(outcomes, (Untried("y", "it changes the recipe"),), ratio(2.5), batch), ["By a test"])
    assert text.startswith("# @package _global_\n# By a test\n")
    comments = re.findall(r"^# (.*)$", text, re.MULTILINE)[2:]
    assert comments[:-1] == [
        "+plugins=[threads] plugins.threads.count=8: kept: 1.40 (1.30 to 1.50) times as fast",
        "count 8: 8 over 4: 1.90 (1.80 to 2.00); 16 bring nothing beyond the noise",
        "+plugins=[compile]: left out: 1.40 (1.30 to 1.50) times as fast, 1.50 predicted",
        "+plugins=[amp]: kept: 1.40 (1.30 to 1.50) times as fast, 1.50 predicted (products in bfloat16)",
        "plugins.optimizer.args={fused:true,eps:1e-08}: kept: 1.40 (1.30 to 1.50) times as fast, 1.50 predicted",
        "+plugins=[x]: left out: it cannot, says it",
        "together: 2.50 (2.40 to 2.60) times as fast",
        "batch_size=64 makes 1.50 times as many samples a second, 1.0 MB in an update; 128 bring nothing beyond the noise. It "
        "changes the recipe, so it is yours to take: fewer updates, which want a higher learning rate",
        "y: not tried: it changes the recipe",
    ]  # fmt: skip
    assert comments[-1] == "batch_size: 64"
    content: dict[str, Any] = yaml.safe_load(text)
    assert content == {
        "defaults": [{"/plugins": ["threads", "amp"]}],
        "plugins": {"threads": {"count": 8}, "optimizer": {"args": {"fused": True, "eps": 1e-8}}},
    }


@pytest.mark.parametrize("name", ["a/b", "", "..", "x.yaml", "ä", "quick"])
def test_a_name_is_that_of_a_file_alone_and_of_no_experiment_of_accels(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert exit_code(lambda: main(["doctor", "--apply", "--name", name])) == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("there", ["file", "dangling link", "a file for a folder", "closed folder"])
def test_what_cannot_be_written_is_refused_before_anything_is_measured(
    there: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "conf/experiment/doctor.yaml"
    if there == "a file for a folder":
        (tmp_path / "conf").write_text("")
    else:
        file.parent.mkdir(parents=True)
    if there == "file":
        file.write_text("mine")
    if there == "dangling link":
        file.symlink_to("nowhere")
    if there == "closed folder":
        monkeypatch.setattr(os, "access", lambda *args, **more: False)
    monkeypatch.setattr(doctor_module, "doctor", lambda *args, **more: pytest.fail("it is measured"))
    assert exit_code(lambda: main(["doctor", "--apply"])) == 2
    message = capsys.readouterr().err
    assert message.startswith("accel: error: ")
    assert "--name" in message or "--config-dir" in message
    assert there != "file" or file.read_text() == "mine"


def test_a_name_without_apply_is_no_silent_wish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    assert exit_code(lambda: main(["doctor", "--name", "fast"])) == 2
    assert "add --apply" in capsys.readouterr().err


def test_a_file_that_came_meanwhile_stays_and_nothing_measured_is_lost(tmp_path: Path) -> None:
    file = tmp_path / "experiment/fast.yaml"
    assert write_experiment(file, "one") == file
    assert [write_experiment(file, text).name for text in ("two", "three")] == ["fast-2.yaml", "fast-3.yaml"]
    assert [path.read_text() for path in sorted(file.parent.iterdir())] == ["two", "three", "one"]


def fake_diagnosis() -> Any:
    processor = SimpleNamespace(name="a processor", cores=2)
    machine = SimpleNamespace(processor=processor, torch=SimpleNamespace(version="2"))
    return SimpleNamespace(machine=machine, remedies=[], command="python -m accel.train", applied=None)


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        (["epochs=3"], THREADS),
        (["+plugins=[threads]", "plugins.threads.count=1"], Overrides(settings=(("plugins.threads.count", 8),))),
        (["evaluate.epochs=1"], Overrides(("amp",), (("evaluate.epochs", 2),))),
        (["+experiment=mine", "seed=3"], THREADS),
        (["+plugins=[optimizer]", "plugins.optimizer.target=torch.optim.Adam", "plugins.optimizer.args={eps:0.1}"],
         Overrides(settings=(("plugins.optimizer.args", {"eps": 0.1, "fused": True}),))),
    ],
)  # fmt: skip
def test_the_command_that_is_said_is_the_run_that_was_measured(
    typed: list[str], kept: Overrides, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was typed goes before an experiment, so that what the experiment sets is not typed any more."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "conf/experiment").mkdir(parents=True)
    (tmp_path / "conf/experiment/mine.yaml").write_text("# @package _global_\nepochs: 7\n")
    outcome = AppliedRemedies((tried(True, kept),))
    monkeypatch.setattr(command_module, "apply_remedies", lambda *args: outcome)
    args = SimpleNamespace(json=False, name="fast", config_dir="conf", config_path=None, config_name=None)
    document = command_module.apply_and_write(fake_diagnosis(), args, typed)  # type: ignore[arg-type]
    assert document["experiment"]["file"] == "conf/experiment/fast.yaml"
    words = shlex.split(document["experiment"]["command"])
    assert words[:5] == ["python", "-m", "accel.train", "--config-dir", "conf"]
    assert words[-1] == "+experiment=fast"
    measured = compose([*typed, *kept.words], config_dir="conf")
    assert compose(words[5:], config_dir="conf").to_dict() == measured.to_dict()
    assert document["experiment"]["command"] in capsys.readouterr().out


def test_nothing_is_written_where_nothing_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command_module, "apply_remedies", lambda *args: AppliedRemedies((tried(False, THREADS),)))
    args = SimpleNamespace(json=False, name="fast", config_dir=None, config_path=None, config_name=None)
    assert command_module.apply_and_write(fake_diagnosis(), args, [])["experiment"] is None  # type: ignore[arg-type]
    assert "no file is written" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []
