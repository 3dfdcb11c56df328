"""`python -m accel ablate`: the table, the document, the line to type, and sentences for what cannot work."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest

from accel import __main__
from accel.cli.ablate.ablate_console import make_trainer
from accel.cli.ablate.kept_words import kept_words
from accel.cli.compose.compose import compose
from accel.cli.doctor.doctor_console import refuse_run_words
from accel.cli.exit_codes import exit_code
from accel.compare import Limits
from accel.diagnose.ablation import arm, bench
from accel.errors import ConfigError

pytestmark = pytest.mark.usefixtures("forked_commands")

PLUGINS = "+plugins=[clip,ema]"


def command(*words: str | Path) -> int:
    return exit_code(lambda: __main__.main(["ablate", *map(str, words)]))


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(arm, "WINDOW", 0.001)
    monkeypatch.setattr(bench, "Limits", partial(Limits, min_rounds=2, step=1))
    monkeypatch.chdir(tmp_path)


@pytest.mark.slow
def test_one_document_with_a_schema(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert command("--json", "--seeds", "0", "--seconds", "0.01", "--picture", tmp_path / "x.svg", PLUGINS, "batch_size=8") == 0
    shown = capsys.readouterr()
    document = json.loads(shown.out)
    assert (document["schema"], document["kind"]) == (1, "ablation")
    assert [one["plugins"] for one in document["contributions"]] == [["clip"], ["ema"]]
    assert document["command"].startswith("python -m accel")
    assert "1 of 2: clip" in shown.err
    assert [path.name for path in tmp_path.iterdir()] == ["x.svg"]


@pytest.mark.slow
def test_a_table_and_the_line_to_type(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert command("--seeds", "1", "--updates", "2", "--seconds", "0.01", PLUGINS, "--together", "ema+clip") == 0
    shown = capsys.readouterr().out
    assert "ema+clip" in shown
    assert "\x1b" not in shown, "plain lines without a terminal"
    assert shown.strip().splitlines()[-1].startswith("python -m accel")
    assert not any(tmp_path.iterdir())


def test_the_config_of_a_run_is_measured_without_the_directory_of_that_run(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(compose(["out=old", "resume=old", "dry_run=true", PLUGINS]).text)
    config = compose(config_path=str(tmp_path))
    assert (config.settings.out, config.settings.dry_run) == ("old", True)
    refuse_run_words(config, "an ablation")
    settings = make_trainer(config).settings
    assert (settings.out, settings.resume, settings.dry_run) == (None, None, False)
    with pytest.raises(ConfigError, match="out has no effect"):
        refuse_run_words(compose(["out=new"], config_path=str(tmp_path)), "an ablation")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["epochs=2"], "there is no plugin to leave out; name some"),
        (["+plugins=[clpi]"], "no plugin is called 'clpi'; did you mean 'clip'?"),
        ([PLUGINS, "out=x"], "out has no effect on an ablation"),
        ([PLUGINS, "dry_run=true"], "dry_run has no effect on an ablation"),
        ([PLUGINS, "--together", "clip"], "name two plugins or more with + between them"),
        ([PLUGINS, "--together", "clip+amp"], "together: amp is no plugin of this run; there is clip, ema"),
        ([PLUGINS, "--picture", "x.png"], "the picture is an SVG"),
        ([PLUGINS, "--picture", "nowhere/x.svg"], "there is no folder nowhere"),
        ([PLUGINS, "--seeds", "many"], "--seeds must be a whole number from 0"),
        ([PLUGINS, "--jsno"], "ablate has no flag '--jsno'; did you mean '--json'?"),
    ],
)
def test_what_cannot_work_is_one_sentence(words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(*words) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("accel: error: ")
    assert sentence in shown.err
    assert len(shown.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("typed", "gone", "expected"),
    [
        (["epochs=3", "+plugins=[amp,ema]"], ["ema"], ["epochs=3", "+plugins=[amp]"]),
        (["+plugins=[amp]", "plugins=ema"], ["amp", "ema"], []),
        (["+plugins=[fast]", "plugins.amp.dtype=float16"], ["amp"], ["+plugins=[fast]", "~plugins.amp"]),
        (["+plugins.mine._target_=mine.Mine", "+plugins.mine.a=1"], ["mine"], []),
        (["+experiment=fast", "~plugins.ema"], ["lamb"], ["+experiment=fast", "~plugins.ema", "~plugins.lamb"]),
    ],
)
def test_the_line_to_type_is_without_them(typed: list[str], gone: list[str], expected: list[str]) -> None:
    assert kept_words(typed, gone) == expected
