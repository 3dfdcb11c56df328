"""`doctor --apply`: what is faster is kept and written, and the command that it says trains with it."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from accel.__main__ import main
from accel.cli.compose.compose import compose
from accel.cli.doctor.experiment_file import experiment_text, merged
from accel.cli.exit_codes import exit_code
from accel.compare import Limits, SpeedRatio
from accel.diagnose import applied
from accel.diagnose.applied import TriedRemedy
from accel.diagnose.decision.remedies import Possible, Remedy
from accel.diagnose.decision.timing import Range
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
    monkeypatch.setattr(applied, "LIMITS", Limits(min_rounds=8, max_rounds=8, seconds=1.0, step=1))
    (tmp_path / "mine.py").write_text(TASK)
    words = ["task._target_=mine.Waiting", "batch_size=4", "device=cpu"]
    assert exit_code(lambda: main(["doctor", "--json", "--apply", "--name", "fast", "--seconds", "10", *words])) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["verdict"]["kind"] == "data-bound"
    (kept, *_) = [one for one in document["applied"] if one["is_kept"]]
    assert kept["name"] == "workers"
    assert kept["measured"]["low"] > 1.05
    measured = [one for one in document["applied"] if one["measured"] is not None and one["loss"] is None]
    assert all(one["is_kept"] == (one["measured"]["low"] > 1.05) for one in measured)
    file = tmp_path / "conf/experiment/fast.yaml"
    assert list(tmp_path.rglob("*.yaml")) == [file]
    assert "times as fast" in file.read_text()
    command = shlex.split(document["experiment"]["command"])
    assert command[:5] == ["python", "-m", "accel.train", "--config-dir", "conf"]
    config = compose(command[5:], config_dir="conf")
    assert config.plugins["workers"].settings["count"] == yaml.safe_load(file.read_text()).get("plugins", {}).get(
        "workers", {}
    ).get("count", "auto")
    assert exit_code(lambda: main(["doctor", "--apply", "--name", "fast", *words])) == 2
    assert "is there already" in capsys.readouterr().err


def remedy(name: str, *words: str) -> Remedy:
    return Remedy(Possible(name, " ".join(words), ("data",), words=words), Range(1.4, 1.3, 1.5), 3.0, Range(1.5, 1.4, 1.6))


def tried(is_kept: bool, *words: str) -> TriedRemedy:
    return TriedRemedy(remedy("threads", *words), SpeedRatio(1.4, 1.3, 1.5, 8), None, is_kept, words=words)


def test_an_experiment_has_what_was_kept_and_says_what_each_brought() -> None:
    outcomes = [
        tried(True, "+plugins=[threads]", "plugins.threads.count=8"), tried(False, "+plugins=[amp]"),
        tried(True, "evaluate.epochs=2"), TriedRemedy(remedy("x", "+plugins=[x]"), reason="it cannot"),
    ]  # fmt: skip
    text = experiment_text(outcomes, ["Measured by a test"])
    assert text.startswith("# @package _global_\n# Measured by a test\n")
    assert re.findall(r"^# (kept|left out): (.*): 1.40 \(1.30 to 1.50\) times as fast, 1.50 predicted$", text, re.MULTILINE) == [
        ("kept", "+plugins=[threads] plugins.threads.count=8"), ("left out", "+plugins=[amp]"), ("kept", "evaluate.epochs=2"),
    ]  # fmt: skip
    content: dict[str, Any] = yaml.safe_load(text)
    assert content == {
        "defaults": [{"/plugins": ["threads"]}], "plugins": {"threads": {"count": 8}}, "evaluate": {"epochs": 2},
    }  # fmt: skip


def test_settings_of_every_kind_are_read_as_they_are_typed() -> None:
    words = ["plugins.optimizer.args={fused:true,eps:0.1}", "plugins.backend.tf32=false", "+plugins=[a,b]", "+plugins=[b,c]"]
    assert merged(words) == (
        ["a", "b", "c"], {"plugins": {"optimizer": {"args": {"fused": True, "eps": 0.1}}, "backend": {"tf32": False}}}
    )  # fmt: skip


@pytest.mark.parametrize("name", ["a/b", "", "..", "x.yaml"])
def test_a_name_is_that_of_a_file_alone(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert exit_code(lambda: main(["doctor", "--apply", "--name", name])) == 2
    assert list(tmp_path.iterdir()) == []
