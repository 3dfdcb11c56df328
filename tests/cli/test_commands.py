"""The command `accel`: its subcommands, its help, and the sentences for what is mistyped."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from contextlib import suppress
from dataclasses import fields
from pathlib import Path

import pytest

import accel
from accel import __main__
from accel.cli.arguments import CONFIG_FLAGS, SETTINGS_NOTE
from accel.cli.commands import COMMANDS, Command
from accel.cli.exit_codes import exit_code
from accel.cli.job import program
from accel.errors import ConfigError, Interrupted, TrainingError
from accel.schema.settings import Settings, typed_name
from tests.support.console_scripts import ROOT, install_scripts


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install_scripts(tmp_path_factory.mktemp("scripts"))


def run(*words: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "80"}
    return subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False, env=env, cwd=cwd)


def starts(scripts: Path) -> dict[str, list[str]]:
    """The four ways to start training."""
    python = sys.executable
    return {
        "accel train": [str(scripts / "accel"), "train"], "accel-train": [str(scripts / "accel-train")],
        "python -m accel.train": [python, "-m", "accel.train"], "python -m accel train": [python, "-m", "accel", "train"],
    }  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_commands_that_take_the_settings_of_training_take_its_configs_too(command: Command) -> None:
    usage = command.load().USAGE
    takes = command.name == "train" or SETTINGS_NOTE in usage.notes
    assert set(CONFIG_FLAGS) & set(usage.flags) == (set(CONFIG_FLAGS) if takes else set())


@pytest.mark.slow
def test_every_way_to_train_answers_alike_and_by_its_own_name(scripts: Path, tmp_path: Path) -> None:
    pages, errors, configs = set(), set(), set()
    for name, words in starts(scripts).items():
        page = run(*words, "--help")
        assert page.returncode == 0, page.stderr
        assert f"Usage: {name} [FLAG ...]" in page.stdout
        assert f"  {name} resume=auto" in page.stdout
        pages.add(" ".join(page.stdout.partition("\nSettings")[2].partition("\n\n")[0].split()))
        wrong = run(*words, "+plugins=[ampp]")
        assert wrong.returncode == 2
        errors.add(wrong.stderr)
        configs.add(run(*words, "--cfg", "job", "+plugins=[amp]", "epochs=3").stdout)
        assert run(*words, "--version").stdout == f"accel {accel.__version__}\n"
    assert len(pages) == len(errors) == len(configs) == 1
    assert "epochs: 3" in configs.pop()


@pytest.mark.parametrize("command", [[], *([command.name] for command in COMMANDS)], ids=str)
def test_every_page_fits_and_every_version_is_told(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(lambda: __main__.main([*command, "--help"])) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert len(lines) <= (48 if {"train", "export"} & set(command) else 40)
    assert any(line.startswith("Usage: ") for line in lines)
    assert lines.index("Examples") < lines.index("Flags")
    if command:
        assert exit_code(lambda: __main__.main(["help", *command])) == 0
        assert capsys.readouterr().out.splitlines() == lines
    else:
        assert exit_code(lambda: __main__.main([])) == 0
        assert capsys.readouterr().out.splitlines() == lines
        for row in COMMANDS:
            assert any(line.startswith(f"  {row.name} ") for line in lines)
    with suppress(SystemExit):
        __main__.main([*command, "--version"])
    assert capsys.readouterr().out == f"accel {accel.__version__}\n"


@pytest.mark.parametrize("command", ["pack", "drill", "evaluate", "predict"])
def test_a_command_without_the_words_that_it_needs_shows_its_page_as_an_error(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code(lambda: __main__.main([command])) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "Usage: " in printed.err


def test_a_page_is_as_wide_as_the_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    widths = []
    for columns in ("70", "100"):
        monkeypatch.setenv("COLUMNS", columns)
        assert __main__.main(["pack", "--help"]) == 0
        widths.append(max(map(len, capsys.readouterr().out.splitlines())))
        assert widths[-1] <= int(columns)
    assert widths[1] > 80


def test_the_help_of_training_says_where_the_plugins_are_and_names_those_of_the_user(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins/mine.yaml").write_text("# @package plugins.mine\n_target_: accel.plugins.amp.AMP\n")
    pages = []
    for words in ([], ["--config-dir", str(tmp_path)]):
        assert __main__.main(["train", *words, "--help"]) == 0
        pages.append(capsys.readouterr().out.partition("\nPlugins\n")[2].partition("\n\n")[0])
    assert "come with accel: python -m accel plugins lists them" in " ".join(pages[0].split())
    assert pages[1].splitlines() == [*pages[0].splitlines(), " " * 26 + "mine"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("trian", "no command is called 'trian'; did you mean 'train'?"), ("pluggins", "did you mean 'plugins'?"),
        ("--hepl", "python -m accel has no flag '--hepl'; did you mean '--help'?"), ("help trian", "did you mean 'train'?"),
        ("epochs=3", "epochs=3 is a setting, and settings follow a command; did you mean 'python -m accel train epochs=3'?"),
        ("train --mulitrun", "train has no flag '--mulitrun'; did you mean '--multirun'?"),
        ("train --cfg jbo", "--cfg must be job or hydra or all, not 'jbo'; did you mean 'job'?"),
        ("train --config-dir", "--config-dir needs a value: --config-dir CONFIG_DIR"),
        ("train --resolve=1 --cfg job", "--resolve takes no value"),
        ("plugins --verison", "plugins has no flag '--verison'; did you mean '--version'?"), ("plugins apm", "did you mean 'amp'?"),
        ("pack A B --fromat raw", "pack has no flag '--fromat'; did you mean '--format'?"),
        ("pack A B --format rwa", "--format must be lmdb or raw, not 'rwa'; did you mean 'raw'?"),
        ("pack A B --quality", "--quality needs a value: --quality N"), ("pack A", "pack takes SRC and DST, and 1 were given"),
        ("drill kil", "did you mean 'kill'?"), ("drill kill --trail 3", "drill has no flag '--trail'; did you mean '--trial'?"),
        ("drill kill --seed -1", "--seed must be a whole number from 0, not -1"),
        ("drill kill --within soon", "--within must be a number from 0, not 'soon'"),
        ("completion bsh", "completion is for bash, zsh, fish, not 'bsh'; did you mean 'bash'?"),
        ("completion", "completion takes one shell: bash, zsh, fish"),
    ],
)  # fmt: skip
def test_what_is_mistyped_gets_one_sentence(words: str, sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(lambda: __main__.main(words.split())) == 2
    printed = capsys.readouterr()
    assert sentence in printed.err
    assert printed.err.startswith("accel: error: ")
    assert printed.err.count("\n") == 1
    assert printed.out == ""


def test_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    def raises(error: BaseException) -> int:
        raise error

    for error, code, text in (
        (ConfigError("no"), 2, "accel: error: no\n"), (TrainingError("no"), 1, "accel: error: no\n"),
        (KeyboardInterrupt(), 130, ""),
        (Interrupted("SIGTERM"), 75, "accel: stopped by SIGTERM\n"),
    ):  # fmt: skip
        assert exit_code(lambda error=error: raises(error)) == code
        assert capsys.readouterr().err == text
    assert exit_code(lambda: 3) == 3
    with pytest.raises(ZeroDivisionError):
        exit_code(lambda: 1 // 0)


@pytest.mark.parametrize(
    ("argv", "orig_argv", "words"),
    [
        (["/bin/accel", "train", "epochs=3"], ["python", "/bin/accel", "train", "epochs=3"], ["/bin/accel", "train"]),
        (["/x/accel/__main__.py", "train", "a=1"], ["python", "-m", "accel", "train", "a=1"], ["python", "-m", "accel", "train"]),
        (["/x/accel/__main__.py", "drill", "kill"], ["python", "-m", "accel", "drill", "kill"], ["python", "-m", "accel.train"]),
        (["/x/accel/train.py", "a=1"], ["python", "-m", "accel.train", "a=1"], ["python", "-m", "accel.train"]),
        (["/bin/accel-train", "a=1"], ["python", "/bin/accel-train", "a=1"], ["/bin/accel-train"]),
    ],
)
def test_the_command_that_resumes_is_the_one_that_was_typed(
    argv: list[str], orig_argv: list[str], words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", argv)
    monkeypatch.setattr(sys, "orig_argv", orig_argv)
    assert program() == words


def test_the_reference_page_names_every_command_flag_and_setting() -> None:
    page = (ROOT / "docs/reference/command-line.md").read_text()
    rows = re.findall(r"^\| `([^|]*)` \|", page, re.MULTILINE)
    named = {word for row in rows for word in row.split("`, `")}
    usages = [command.load().USAGE for command in COMMANDS]
    assert {f"accel {command.name}" for command in COMMANDS} <= named
    assert {name for usage in usages for flag in usage.flags for name in flag.names} <= named
    assert {typed_name(field.name) for field in fields(Settings)} <= named
    flags = {name for name in named if name.startswith("-")}
    assert flags == {name for usage in usages for flag in usage.flags for name in flag.names}, "none that is gone"


def test_the_sentence_that_the_readme_and_the_guide_show_is_what_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(lambda: __main__.main(["train", "+plugins=[ampp]"])) == 2
    sentence = capsys.readouterr().err.strip().removeprefix("accel: error: ")
    for page in ("README.md", "docs/guides/command-line.md"):
        assert f"exit code 2: `{sentence}`" in (Path(__file__).parents[2] / page).read_text(encoding="utf-8"), page


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_under_torchrun_what_is_work_for_one_process_says_so(
    command: Command, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    code = exit_code(lambda: __main__.main([command.name, "--help"]))
    sentence = f"accel: error: {command.name} is work for one process, and 2 were started; start it without torchrun\n"
    assert (code, capsys.readouterr().err) == ((0, "") if command.name in ("train", "evaluate", "doctor") else (2, sentence))
