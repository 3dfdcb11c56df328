"""The commands of the page on models of transformers work as they stand there; so do those about a run of task=hf."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

pytest.importorskip("transformers", reason="needs the extra ecosystem")

from accel import __main__ as accel_main
from accel.cli.train_command import main
from tests.docs.pages import blocks_of
from tests.support.small_texts import write_paragraphs, write_reviews

pytestmark = pytest.mark.slow
LINES = [line for block in blocks_of("docs/guides/transformers.md") if not block.language for line in block.commands]
TINY = ["task.layers=1", "task.heads=2", "task.width=16", "task.vocabulary=300", "task.context=16", "device=cpu"]


@pytest.mark.parametrize("line", LINES)
def test_a_command_of_the_page(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_paragraphs(tmp_path / "FILE", 30)
    words = shlex.split(line, comments=True)
    assert words[:3] == ["python", "-m", "accel.train"]
    small = [word for word in TINY if word.partition("=")[0] not in {word.partition("=")[0] for word in words}]
    assert main([*words[3:], *small, "dry_run=true"]) == 0, capsys.readouterr().err
    assert "update" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["causal", "masked", "classification", "seq2seq"])
def test_commands_about_a_run(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """evaluate has the metrics of the run, and predict says something of each file, with the tokeniser that the run kept."""
    monkeypatch.chdir(tmp_path)
    write_paragraphs(tmp_path / "FILE", 30) if kind in ("causal", "masked") else write_reviews(tmp_path / "FILE.csv", 30)
    path = "FILE" if kind in ("causal", "masked") else "FILE.csv"
    assert main(["task=hf", f"task.path={path}", f"task.kind={kind}", *TINY, "updates=2", "out=RUN", "~plugins.progress"]) == 0
    summary = json.loads((tmp_path / "RUN" / "summary.json").read_text())
    capsys.readouterr()
    assert accel_main.main(["evaluate", "RUN", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["metrics"] == pytest.approx(summary["metrics"], rel=1e-6)
    (tmp_path / path).unlink()
    (tmp_path / "one.txt").write_text("the <mask> sees a cat")
    (tmp_path / "none.txt").write_text("\n")
    assert accel_main.main(["predict", "RUN", "one.txt", "format=jsonl"]) == 0
    row = json.loads(capsys.readouterr().out)
    column = {"causal": "continuation", "masked": "hidden", "classification": "class", "seq2seq": "written"}[kind]
    assert isinstance(row[column], str)
    assert accel_main.main(["predict", "RUN", "none.txt", "one.txt"]) == 1
    assert "none.txt is empty; there is nothing to say of it" in capsys.readouterr().err


def test_a_mistyped_setting_ends_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_paragraphs(tmp_path / "FILE", 30)
    for word, sentence in {
        "task.kidn=masked": "kidn is no setting of",
        "task.kind=mask": "task.kind must be causal or masked or classification or seq2seq, not 'mask'",
        "task.path=FIEL": "task.path=FIEL: there is no such file",
        "task.packed=maybe": "task.packed must be true or false",
        "task.model=gpt-2": "task.model=gpt-2",
        "task.kind=classification": "task.path=FILE has no labels: a text is read line by line",
    }.items():
        assert main(["task=hf", "task.path=FILE", word, "updates=1", "device=cpu"]) == 2
        printed = capsys.readouterr()
        assert sentence in printed.err
        assert "Traceback" not in printed.err
