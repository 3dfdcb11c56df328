"""`python -m accel advise`: the page, the document, the picture, and sentences for what cannot work."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from accel import __main__
from accel.cli.exit_codes import exit_code
from accel.diagnose import advise as advising
from accel.diagnose.ceilings.machine_ceilings import MachineCeilings

CEILINGS = MachineCeilings("a machine", 1, {"float32": 1e11}, {1 << 16: 5e10, 1 << 27: 2e10}, 1e-6)


def command(*words: str | Path) -> int:
    return exit_code(lambda: __main__.main(["advise", *map(str, words)]))


@pytest.fixture(autouse=True)
def known_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(advising, "kept_ceilings", lambda device, dtypes: (CEILINGS, "given"))
    monkeypatch.chdir(tmp_path)


def test_one_document_with_a_schema_and_a_picture(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert command("--json", "--seconds", "0.001", "--picture", tmp_path / "x.svg", "batch_size=8", "+plugins=[channels_last]") == 0
    shown = capsys.readouterr()
    document = json.loads(shown.out)
    assert (document["schema"], document["kind"], document["trains"]) == (1, "advice", True)
    assert document["batch"].startswith("float32 8x1x8x8")
    assert {layer["kind"] for layer in document["layers"]} >= {"Conv2d", "Linear"}
    assert "channels_last" in document["command"]
    assert "measuring: the operators of a pass" in shown.err
    assert [path.name for path in tmp_path.iterdir()] == ["x.svg"]


def test_inference_is_forward_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert command("--json", "--inference", "--seconds", "0.001", "batch_size=8") == 0
    document = json.loads(capsys.readouterr().out)
    assert not document["trains"]
    assert not any(layer["backward_seconds"] for layer in document["layers"])


def test_a_page_in_plain_lines(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert command("--seconds", "0.001", "batch_size=8") == 0
    shown = capsys.readouterr().out
    assert "x roof" in shown
    assert "\x1b" not in shown
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["+plugins=[apm]"], "no plugin is called 'apm'; did you mean 'amp'?"),
        (["--picture", "x.png"], "the picture is an SVG"),
        (["--picture", "nowhere/x.svg"], "there is no folder nowhere"),
        (["--picture", "."], "names no file"),
        (["--seconds", "-1"], "--seconds must be"),
        (["--jsno"], "advise has no flag '--jsno'; did you mean '--json'?"),
        (["task=digit"], "did you mean 'digits'?"),
        (["out=run"], "out has no effect on advice"),
    ],
)
def test_what_cannot_work_is_one_sentence(words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(*words) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("accel: error: ")
    assert sentence in shown.err
    assert len(shown.err.splitlines()) == 1


@pytest.mark.slow
def test_a_signal_ends_it_at_once(tmp_path: Path, forked_commands: None) -> None:
    words = ["-m", "accel", "advise", "--seconds", "600", "batch_size=512", "task.width=64"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "XDG_CACHE_HOME": str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, *words], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as run:
        assert run.stderr is not None
        assert any("the time of each operator" in line for line in run.stderr)
        run.send_signal(signal.SIGTERM)
        rest = run.stderr.read()
    assert run.returncode == 75
    assert "the ceilings" not in rest
    assert not any(tmp_path.iterdir())


def test_ranks_are_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    assert command() == 2
    assert "start it without torchrun" in capsys.readouterr().err
