"""A run that a signal or an error ends has its page too, with the reason and the way on."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn

import accel
from accel.errors import ConfigError, Interrupted, TrainingError
from accel.parts import Watch
from accel.plugins.metrics import Metrics
from accel.system.clock import DATA, FORWARD
from accel.testing import fit_toy
from accel.testing.toy_run import Toy
from tests.support.report_pages import read


class Shapeless(Toy):
    """A task whose loss is no scalar."""

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        return nn.functional.cross_entropy(model(batch[0]), batch[1], reduction="none")


def test_a_run_that_goes_on_is_told_from_one_that_has_ended(tmp_path: Path) -> None:
    fit_toy([Metrics()], out=tmp_path)
    (tmp_path / "summary.json").unlink()
    assert "summary.json is not there: the run was stopped or failed before its end" in read(accel.report(tmp_path)).text
    (tmp_path / ".lock").touch()
    assert "summary.json is not there: the run is still going, or was killed" in read(accel.report(tmp_path)).text


@dataclass(eq=False)
class Ends(Watch):
    """Watch that ends the run after an update."""

    how: Literal["SIGTERM", "SIGINT", "error", "failure", "second SIGINT"] = "SIGTERM"

    def after(self, step: int, loss: torch.Tensor) -> None:
        if step == 8:
            match self.how:
                case "error":
                    raise ValueError("the cupboard\nis bare")
                case "failure":
                    raise TrainingError("the loss is not finite; lower the learning rate")
                case "second SIGINT":
                    raise KeyboardInterrupt
                case _:
                    os.kill(os.getpid(), getattr(signal, self.how))


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("SIGTERM", "stopped by SIGTERM after update 8"),
        ("SIGINT", "stopped by SIGINT after update 8"),
        ("error", "ValueError: the cupboard is bare"),
        ("failure", "the loss is not finite; lower the learning rate"),
    ],
)
def test_a_run_that_ends_early_has_its_page_and_why(how: Any, reason: str, tmp_path: Path) -> None:
    ending = {"SIGTERM": Interrupted, "SIGINT": Interrupted, "error": ValueError, "failure": TrainingError}[how]
    with pytest.raises(ending):
        fit_toy([Metrics(), Ends(how)], out=tmp_path / "run", command="accel train", evaluate_every=4, checkpoint_every=4)
    page = read(tmp_path / "run/report.html")
    assert f"ended early: {reason}" in page.text
    for words in ("loss, mean per item", "val loss", "Where the time went", "Plan", "Machine", "updates 8"):
        assert words in page.text, words
    assert f"go on with accel train resume={tmp_path}/run" in page.text
    assert "What is not there" not in page.text
    assert "not finite" not in page.text.replace(reason, "")
    assert not (tmp_path / "run/summary.json").exists()
    listed = page.text.rpartition("Files")[2]
    assert "report.html" in listed
    assert "summary.json" not in listed
    anew = read(accel.report(tmp_path / "run")).text
    assert "loss, mean per item" in anew
    assert "the run was stopped or failed before its end" in anew


@dataclass(eq=False)
class Longer(Watch):
    """Watch that books a minute to a phase of each update, as a long run would have it."""

    phase: int = DATA

    def begin(self, run: Any) -> None:
        self.clock = run.clock

    def after(self, step: int, loss: torch.Tensor) -> None:
        self.clock.spent[self.phase] += 60.0


@pytest.mark.parametrize("how", ["SIGTERM", "error"])
@pytest.mark.parametrize(
    ("phase", "verdict"),
    [
        (DATA, "data-bound: the model waits 100 % of the time for its data"),
        (FORWARD, "computing: forward and backward pass take 100 % of the time"),
    ],
)
def test_a_run_that_ends_early_has_its_verdict_and_the_doctors_command(
    how: Any, phase: int, verdict: str, tmp_path: Path
) -> None:  # fmt: skip
    command = "python -m accel.train epochs=3 'vars.note=it is'"
    with pytest.raises((Interrupted, ValueError)):
        fit_toy([Metrics(), Longer(phase), Ends(how)], out=tmp_path / "run", command=command, config="epochs: 3\n")
    page = read(tmp_path / "run/report.html").text
    assert verdict in page
    assert "to know more: python -m accel doctor epochs=3 'vars.note=it is'" in page
    anew = read(accel.report(tmp_path / "run")).text
    assert (verdict in anew) == (phase == DATA), "times.jsonl has no more than the wait for data"
    assert "of the training waited for data" in anew
    assert f"to know more: python -m accel doctor --config-path {tmp_path}/run" in anew


def test_a_run_that_ends_at_once_has_no_verdict(tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        fit_toy([Metrics(), Ends()], out=tmp_path / "short", command="python -m accel.train")
    page = read(tmp_path / "short/report.html").text
    assert "computing: " not in page
    assert "-bound: " not in page.replace("not data-bound: ", "")
    assert "to know more: python -m accel doctor" in page


def test_no_page_where_none_is_wanted_or_there_is_no_time(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        fit_toy([Metrics(), Ends("second SIGINT")], out=tmp_path / "hurried")
    with pytest.raises(Interrupted):
        fit_toy([Metrics(report=False), Ends()], out=tmp_path / "plain")
    with pytest.raises(ConfigError, match="return a scalar tensor"):
        fit_toy([Metrics()], out=tmp_path / "none", kind=Shapeless)
    assert not any(tmp_path.glob("*/report.html"))
    assert not (tmp_path / "none").exists()
