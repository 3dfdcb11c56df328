"""The command that a run prints to go on from is one that goes on, also where nothing was saved or nothing is written."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from accel.cli.train_command import main
from accel.system.faults import armed

RUN = [
    "task=text",
    "task.path=words",
    "task.context=4",
    "epochs=1",
    "device=cpu",
    "batch_size=64",
    "task.layers=1",
    "task.heads=1",
    "task.width=8",
]


@pytest.fixture(autouse=True)
def text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("words").write_bytes(bytes(range(97, 123)) * 40)


def full() -> None:
    raise OSError(28, "No space left on device")


def last_command(output: str) -> list[str]:
    """The arguments of the last command in an output."""
    line = [line for line in output.splitlines() if "accel.train" in line or "resume=" in line][-1]
    words = shlex.split(line)
    return words[next(number for number, word in enumerate(words) if word.startswith("task=")) :]


def test_after_a_disk_that_took_no_checkpoint(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with monkeypatch.context() as patch:
        patch.setitem(armed, "saving.state.begun", full)
        assert main([*RUN, "out=run"]) == 1
    printed = capsys.readouterr()
    for command in (last_command(printed.out), last_command(printed.err)):
        assert command[-2:] == ["resume=auto", "out=run"]
    assert main(command) == 0, capsys.readouterr().err
    assert last_command(capsys.readouterr().out)[-1] == "resume=run"


def test_a_dry_run_looks_for_what_it_would_go_on_with(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*RUN, "out=run", "resume=auto", "dry_run=true"]) == 0, capsys.readouterr().err
    assert not Path("run").exists()
    assert main([*RUN, "out=run"]) == 0
    before = {path: path.read_bytes() for path in Path("run").rglob("*") if path.is_file()}
    capsys.readouterr()
    assert main([*RUN, "out=run", "resume=auto", "dry_run=true", "epochs=2"]) == 0, capsys.readouterr().err
    assert "epoch-0001 of run" in capsys.readouterr().out
    assert before == {path: path.read_bytes() for path in Path("run").rglob("*") if path.is_file()}
