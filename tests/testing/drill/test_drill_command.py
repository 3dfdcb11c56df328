"""What `python -m accel drill` refuses, and that its comparison and its damage are real."""

from __future__ import annotations

import errno
import json
import os
import signal
import sys
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch

from accel import __main__
from accel.checkpoints import damage as found_damage
from accel.checkpoints import find
from accel.cli import drill_console
from accel.cli.compose.compose import compose
from accel.cli.drill_console import drill
from accel.errors import AccelWarning, ConfigError
from accel.plugins import AdamW, Metrics
from accel.system.shell_quoting import setting
from accel.testing import fit_toy
from accel.testing.drill.attempt import Attempt, sessions
from accel.testing.drill.compare_runs import compare_runs, first_difference
from accel.testing.drill.damage import DAMAGES, damage
from accel.testing.drill.scenarios import killed_everywhere
from accel.testing.drill.struck_run import DrillFailure, StruckRun
from tests.support.forked_process import run_forked
from tests.support.waiting import wait_until


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["kil"], "no drill is called 'kil'; did you mean 'kill'?"),
        (["kill", "--m", "3"], "drill has no flag '--m'"),
        (["kill", "--n", "0"], "--n must be a whole number from 1, not 0"),
        (["kill", "--n", "many"], "--n must be a whole number from 1, not 'many'"),
        (["kill", "epochs=x"], "epochs must be"),
        (["kill", "out=here"], "leave out out="),
        (["kill", "dry_run=true"], "leave dry_run out"),
        (["kill", "--config-path", "nowhere"], "--config-path nowhere: there is no nowhere/config.yaml"),
        (["--n", "3"], "drill takes a kind first"),
        (["update", "--fresh"], "no drill can count the updates of a process of its own; leave --fresh out"),
        (["disk", "--fresh"], "no drill can fail the writes of a process of its own; leave --fresh out"),
    ],
)
def test_what_cannot_work_is_a_sentence(words: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        __main__.main(["drill", *words])
    assert message in str(error.value)


def test_a_kill_that_is_not_the_drills_is_a_failure(tmp_path: Path) -> None:
    def killed(out: Path, resume: bool, log: Path) -> int:
        os.kill(os.getpid(), signal.SIGKILL)
        return 0

    trial = StruckRun(killed, tmp_path / "trial", Random(0), 1.0)
    with pytest.raises(DrillFailure, match="somebody else killed a run that was to be killed behind update 0"):
        killed_everywhere(trial)


@pytest.mark.parametrize("flags", [[], ["--fresh"]], ids=["forked", "fresh"])
@pytest.mark.slow
def test_a_drill_begins_with_the_config_of_a_run_and_leaves_the_run_alone(
    flags: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = tmp_path / "old run"
    old.mkdir()
    (old / "config.yaml").write_text(compose(["updates=2", setting("out", old), setting("resume", old)]).text)
    (tmp_path / "my conf/experiment").mkdir(parents=True)
    (tmp_path / "my conf/experiment/mine.yaml").write_text("# @package _global_\nbatch_size: 8\n")
    out = tmp_path / "new run"

    def drilled(kind: str, body: Any, *rest: Any) -> list[Any]:
        ended = run_forked(lambda: sys.exit(body(out, False, tmp_path / "pulse")))
        assert ended.code == 0, ended.stderr
        return []

    monkeypatch.setattr(drill_console, "drill", drilled)
    typed = ["kill", *flags, "--config-path", str(old), "--config-dir", str(tmp_path / "my conf"), "+experiment=mine"]
    assert __main__.main(["drill", *typed]) == 0
    summary = json.loads((out / "summary.json").read_text())
    assert (summary["updates"], summary["samples"]) == (2, 16)
    assert [path.name for path in old.iterdir()] == ["config.yaml"]


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert __main__.main(["drill", "--help"]) == 0
    assert "--within S" in capsys.readouterr().out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_drill_that_is_stopped_takes_its_run_with_it(number: signal.Signals, tmp_path: Path) -> None:
    def body(out: Path, resume: bool, pulse: Path) -> int:
        out.with_name("pid").write_text(str(os.getpid()))
        os.kill(os.getppid(), number)
        signal.alarm(60)
        signal.pause()
        return 0

    def stopped_drill() -> None:  # in a process of one thread, as the command is: another thread would hear a blocked signal
        with pytest.raises((KeyboardInterrupt, SystemExit)) as stopped:
            drill("kill", body, tmp_path, 0, 5.0, range(1))
        assert number == signal.SIGINT or stopped.value.code == 143
        (pid,) = tmp_path.rglob("pid")
        assert int(pid.read_text()) not in dict(sessions())

    ended = run_forked(stopped_drill)
    assert ended.code == 0, ended.stderr


def test_a_signal_in_the_first_instant_of_an_attempt_finds_somebody_who_can_end_it() -> None:
    def body() -> int:
        os.kill(os.getppid(), signal.SIGINT)
        signal.alarm(60)
        signal.pause()
        return 0

    def interrupted_attempt() -> None:
        kept: list[Attempt] = []

        def keep(attempt: Attempt) -> None:
            wait_until(lambda: signal.SIGINT in signal.sigpending(), "the signal, which is blocked")
            kept.append(attempt)

        with pytest.raises(KeyboardInterrupt):
            Attempt(body, keep)
        (attempt,) = kept
        assert attempt.code == -signal.SIGKILL

    ended = run_forked(interrupted_attempt)
    assert ended.code == 0, ended.stderr


def test_two_runs_that_differ_are_told_apart(tmp_path: Path) -> None:
    for name, rate in (("one", 1e-3), ("same", 1e-3), ("other", 2e-3)):
        fit_toy([AdamW(lr=rate)], out=tmp_path / name)
    assert compare_runs(tmp_path / "one", tmp_path / "same") == ""
    assert "in the last checkpoint" in compare_runs(tmp_path / "one", tmp_path / "other")
    weights = bytearray((tmp_path / "same/model.safetensors").read_bytes())
    weights[-1] ^= 1
    (tmp_path / "same/model.safetensors").write_bytes(weights)
    assert compare_runs(tmp_path / "one", tmp_path / "same").startswith("model.safetensors at byte ")


def test_states_are_compared_by_their_bits() -> None:
    nan, zero = torch.tensor([float("nan")]), torch.zeros(1)
    assert first_difference({"a": [nan, 1]}, {"a": [nan.clone(), 1]}) == ""
    assert first_difference({"a": {"b": zero}}, {"a": {"b": -zero}}) == "a.b"
    assert first_difference({"a": 1}, {"a": 1.0}) == "a"
    assert first_difference({"a": 1}, {"b": 1}) == "(its keys)"


@pytest.mark.parametrize("how", DAMAGES)
def test_every_damage_is_one(how: str, tmp_path: Path) -> None:
    fit_toy([AdamW()], out=tmp_path / "run")
    actual = find(str(tmp_path / "run"), None)
    assert actual is not None
    file = actual.file
    for seed in range(5):
        before = file.read_bytes()
        DAMAGES[how](file, Random(seed))
        assert not file.exists() or found_damage(file) is not None
        file.write_bytes(before)
    damage(file, Random(0))
    assert not file.exists() or found_damage(file) is not None


def test_an_attempt_tells_how_it_ended() -> None:
    attempt = Attempt(lambda: print("here") or 3)  # type: ignore[func-returns-value]
    assert attempt.wait()
    assert (attempt.code, attempt.output) == (3, b"here\n")
    assert attempt.surviving_processes() == []
    broken = Attempt(lambda: 1 // 0)
    broken.wait()
    assert broken.code == 70
    assert b"ZeroDivisionError" in broken.output


class Full:
    """A file on a disk that is full."""

    def __init__(self, file: Any) -> None:
        self.file, self.fileno = file, file.fileno

    def write(self, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "")

    def truncate(self, size: int) -> None: ...

    def seek(self, place: int) -> None: ...


def test_lines_that_a_full_disk_took_after_the_last_checkpoint_make_no_difference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    last = fit_toy([Metrics(curves=False)], out=tmp_path / "one").spy.run.progress.step
    evaluated, end = Metrics.evaluated, Metrics.end

    def full(metrics: Metrics, epoch: int, actual: dict[str, float]) -> None:
        if metrics.progress.step == last:
            metrics.log.file = Full(metrics.log.file)
        evaluated(metrics, epoch, actual)

    def room(metrics: Metrics, result: Any) -> None:
        metrics.log.file = metrics.log.file.file
        end(metrics, result)

    monkeypatch.setattr(Metrics, "evaluated", full)
    monkeypatch.setattr(Metrics, "end", room)
    with pytest.warns(AccelWarning, match=r"metrics\.jsonl could not be written: the disk is full"):
        fit_toy([Metrics(curves=False)], out=tmp_path / "other")
    actual = find(str(tmp_path / "other"), None)
    assert actual is not None
    assert actual.state()["parts"]["metrics"]["waiting"]
    assert compare_runs(tmp_path / "one", tmp_path / "other") == ""
    monkeypatch.undo()
    fit_toy([Metrics(curves=False)], resume=tmp_path / "other")
    assert compare_runs(tmp_path / "one", tmp_path / "other") == "", "a run that is resumed has them once"
