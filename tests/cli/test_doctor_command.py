"""The command `doctor`: a document or plain lines, and nothing left behind, killed or not."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest

from accel.__main__ import main
from accel.cli.commands import find_command
from accel.cli.compose.compose import compose
from accel.cli.compose.config_source import ConfigSource
from accel.cli.exit_codes import exit_code
from accel.cli.job import Job
from accel.cli.train_command import parse_flags
from accel.engine.advice.closing_verdict import doctor_command
from tests.support.console_scripts import ROOT
from tests.support.drill_length import LONG

QUICK = ["--seconds", "2", "device=cpu"]


@pytest.mark.slow
def test_json_is_one_document_on_standard_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert exit_code(lambda: main(["doctor", "--json", *QUICK, "+plugins=[adamw]"])) == 0
    shown = capsys.readouterr()
    document = json.loads(shown.out)
    assert document["schema"] == 1
    assert document["command"] == "python -m accel.train device=cpu '+plugins=[adamw]'"
    assert all(line.startswith("measuring: ") for line in shown.err.splitlines())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_without_a_terminal_it_prints_plain_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert exit_code(lambda: main(["doctor", *QUICK])) == 0
    shown = capsys.readouterr()
    assert "\x1b" not in shown.out + shown.err
    assert "this machine" in shown.out
    assert "-bound: " in shown.out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["+plugins=[ampp]"], "did you mean"),
        (["--jsn"], "--json"),
        (["--seconds", "-1"], "--seconds"),
        (["task=images", "task.root=/nowhere"], "/nowhere"),
        (["resume=auto"], "resume has no effect on a diagnosis, which begins anew and writes no run; leave it out"),
    ],
)
def test_what_is_mistyped_is_one_sentence(words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(lambda: main(["doctor", *words])) == 2
    error = capsys.readouterr().err
    assert error.startswith("accel: error: ")
    assert sentence in error
    assert error.count("\n") == 1


@pytest.mark.slow
@pytest.mark.parametrize("number", [*[signal.SIGKILL] * LONG, signal.SIGTERM])  # forks are killed too (test_killed_commands)
def test_killed_it_leaves_nothing_behind(number: signal.Signals, tmp_path: Path, forked_commands: None) -> None:
    env = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path), "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
    words = [sys.executable, "-m", "accel", "doctor", "device=cpu"]
    with subprocess.Popen(words, cwd=tmp_path, env=env, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        said = next(line for line in process.stderr if "same batch" in line)
        assert said.startswith("measuring: ")
        process.send_signal(number)
        process.stderr.read()
    assert process.returncode == (75 if number is signal.SIGTERM else -number)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


TYPED = {
    "plain": ["+plugins=[amp,ema]", "plugins.ema.decay=0.9", "epochs=2"],
    "spaces and quotes": ["task=text", "task.path='it is \"my\" text.txt'", "vars.note='a, b = {c}'"],
    "a file of one's own": ["--config-dir", "my conf", "+experiment=mine"],
    "another config": ["--config-path", "my conf", "--config-name", "other"],
    "the config of a run": ["--config-path=my run", "batch_size=8"],
}
FILES = {
    "my conf/experiment/mine.yaml": "# @package _global_\nepochs: 3\n",
    "my conf/other.yaml": "defaults:\n  - task: digits\n  - _self_\nepochs: 4\n",
}
STARTS = list(product(("doctor", "ablate", "advise"), TYPED))


@pytest.mark.parametrize(("command", "typed"), STARTS if LONG else STARTS[::2])
def test_what_starts_a_run_starts_its_measurement_too(
    command: str, typed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, text in FILES.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(text)
    Path("my run").mkdir()
    Path("my run/config.yaml").write_text(compose(["epochs=5"]).text)
    args = parse_flags(TYPED[typed])
    config = ConfigSource.of(args).compose(args.overrides)
    told = doctor_command(Job(config, None, ["python", "-m", "accel.train", *ConfigSource.of(args).words]).command)
    words = shlex.split(told)
    assert words[:4] == ["python", "-m", "accel", "doctor"]
    again = find_command(command).load().USAGE.parse(words[4:])
    assert ConfigSource.of(again).compose(again.words).to_dict() == config.to_dict()


@pytest.mark.parametrize(
    ("command", "doctor"),
    [
        ("python -m accel.train epochs=3", "python -m accel doctor epochs=3"),
        ("accel-train task.root=accel-train", "accel doctor task.root=accel-train"),
        ("accel train", "accel doctor"),
        ("accel train resume=auto epochs=3 '+out=my run' task.out=a", "accel doctor epochs=3 task.out=a"),
        ("torchrun --nproc-per-node=2 -m accel.train a=1", "torchrun --nproc-per-node=2 -m accel doctor a=1"),
        ("", ""),
        ("python mine.py", ""),
    ],
)
def test_the_command_of_a_run_becomes_that_of_its_diagnosis(command: str, doctor: str) -> None:
    assert doctor_command(command) == doctor
