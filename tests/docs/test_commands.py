"""Every command in the documentation works as it stands there."""

from __future__ import annotations

import re
import shlex
import subprocess
import tomllib
from pathlib import Path

import pytest

import accel
from accel import __main__ as accel_main
from accel.cli.train_command import main
from accel.schema import plugin_registry
from accel.system import machine
from accel.testing.plugin_runs import unmet_need
from tests.docs.pages import (
    ABOUT_RUNS,
    ADVISES,
    BLOCKS,
    EXPORTS,
    MEASURES,
    PACKS,
    PAGES,
    ROOT,
    SUBMITS,
    TRAINS,
    Block,
    commands,
    where,
)
from tests.support.drill_length import LONG
from tests.support.exported_runs import keep_operators, skip_missing
from tests.support.small_convnet import SmallConvnet

pytestmark = pytest.mark.slow

NEW = commands("python -m accel new ") + commands("cd rings")
"""Those that make a project and train in it; tests/cli/new does both."""
LISTS = [line for line in commands("python -m accel ") if line not in PACKS + ABOUT_RUNS + EXPORTS + MEASURES + ADVISES + NEW]
RANKS = [line for line in (commands("torchrun") + commands("TORCH_")) if "-m accel.train" in line]
OTHERS = [
    line
    for start in ("make", "pip", "cd examples", "python docs", "python benchmarks", "pre-commit", "git config")
    for line in commands(start)
]
QUIET = ("--help", "--cfg")
"""Flags with which nothing is trained."""


def words_of(line: str) -> list[str]:
    """Return the words behind `python -m accel.train` or `python -m accel`."""
    return shlex.split(line, comments=True)[3:]


def short(line: str) -> str:
    """Return a command without its comment, for the name of a test."""
    return line.partition("#")[0].removeprefix("python -m ").strip()


def train(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Run a command that trains, as far as one update, and look at what it says. The network of the digits is narrow."""
    words = list(words)
    if any(word.startswith("task.model=timm/") for word in words) and not machine.importable("timm"):
        assert main(words) == 2
        assert "pip install 'accel-train[timm]'" in capsys.readouterr().err
        return
    if not any(word.startswith("task") for word in words) and not set(QUIET) & set(words):
        words.insert(0, "task.width=4")
    if "resume=auto" in words:  # goes on with a run that is there
        assert main([*words[:-1], "epochs=1"]) == 0
        words.append("epochs=2")
    elif "--multirun" in words:
        words.append("epochs=1")
    elif not set(QUIET) & set(words):
        words.append("dry_run=true")
    if "+plugins=[compile]" in words:
        words.append("plugins.compile.backend=eager")  # inductor takes a minute; tests/plugins/test_compile.py runs it
    assert main(words) == 0, capsys.readouterr().err
    shown = capsys.readouterr()
    assert "Traceback" not in shown.err
    assert "plugins" in shown.out if set(QUIET) & set(words) else "update" in shown.out


@pytest.mark.parametrize("line", TRAINS, ids=short)
def test_a_command_that_trains(line: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(words_of(line), capsys)


def test_the_commands_that_pack(material: Path) -> None:
    assert len(PACKS) >= 4
    assert {path.name for path in (material / "DIR").glob("*.*")} == {"train.lmdb", "test.lmdb", "train.raw", "test.raw"}
    assert not (material / "ELSEWHERE").exists(), "a dry run writes nothing"


def test_the_commands_about_a_run(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "PICTURE.png").symlink_to(next((here / "DIR/train").rglob("*.png")))
    words = ["task=images", "task.root=DIR", "task.size=8", "epochs=1", "checkpoint.best=accuracy", "out=RUN", "device=cpu"]
    assert main([*words, "~plugins.progress"]) == 0
    assert len(ABOUT_RUNS) >= 6
    for line in ABOUT_RUNS:
        capsys.readouterr()
        assert accel_main.main(words_of(line)) == 0, line
        printed = capsys.readouterr()
        assert {"evaluate": "accuracy", "predict": "class", "report": ".html"}[words_of(line)[0]] in printed.out, line
        assert printed.err == ""
    assert (here / "metrics.json").is_file()


def test_the_commands_that_export(here: Path, forked_commands: None, capsys: pytest.CaptureFixture[str]) -> None:
    skip_missing("onnx")
    keep_operators()
    net = f"task.model={SmallConvnet.__module__}.SmallConvnet"  # ranges by entropy take seconds for each tensor
    words = ["task=images", "task.root=DIR", "task.size=8", net, "epochs=1", "out=RUN", "device=cpu", "~plugins.progress"]
    assert main(words) == 0
    assert len(EXPORTS) >= 4
    for line in EXPORTS:
        if ("target=all" in line or "quantize=" in line) and not LONG:
            continue  # tests/cli/export/test_export_command.py types it, on pictures of its own
        capsys.readouterr()
        timed = [] if "seconds=" in line else ["seconds=0"]
        assert accel_main.main([*words_of(line), *timed]) == 0, capsys.readouterr().err
        assert "holds" in capsys.readouterr().out, line


@pytest.mark.parametrize("line", LISTS, ids=short)
def test_a_command_that_lists(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert accel_main.main(words_of(line)) == 0
    assert "clip" in capsys.readouterr().out or "vision" in line


@pytest.mark.parametrize("line", MEASURES, ids=short)
def test_a_command_that_measures(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert accel_main.main([*words_of(line), "--seconds", "1", "device=cpu"]) == 0
    assert "-bound: " in capsys.readouterr().out


@pytest.mark.parametrize("line", ADVISES if LONG else ADVISES[:1], ids=short)
def test_a_command_that_advises(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    seconds = [] if "--seconds" in line else ["--seconds", "1"]
    assert accel_main.main([*words_of(line), *seconds, "device=cpu"]) == 0
    assert "x roof" in capsys.readouterr().out


@pytest.mark.parametrize("line", RANKS, ids=short)
def test_a_command_of_torchrun_has_settings_that_compose(line: str) -> None:
    words = shlex.split(line.partition(" -m accel.train ")[2], comments=True)
    assert accel.compose(words).plugins


@pytest.mark.parametrize("line", OTHERS, ids=short)
def test_any_other_command_names_what_is_there(line: str) -> None:
    words = shlex.split(line, comments=True)
    if words[0] == "pre-commit":
        assert (ROOT / ".pre-commit-config.yaml").is_file()
    elif words[0] == "git":
        assert (ROOT / words[-1]).is_file()
    elif words[0] == "make":
        assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
    elif words[0] == "pip":
        extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
        named = re.search(r"\[([\w,-]+)\]", line)
        assert named is None or set(named[1].split(",")) <= set(extras)
    else:
        folder = words[1].rstrip(";") if words[0] == "cd" else "."
        assert (ROOT / folder / words[-1]).exists()


def test_no_command_is_left_out() -> None:
    kinds = (TRAINS, PACKS, SUBMITS, ABOUT_RUNS, EXPORTS, MEASURES, ADVISES, LISTS, RANKS, NEW, OTHERS)
    known = [shlex.split(line, comments=True) for lines in kinds for line in lines]
    lines = [(block.page, line) for block in BLOCKS if not block.language and not block.note for line in block.commands]
    assert not [(page, line) for page, line in lines if shlex.split(line, comments=True) not in known]
    assert len(TRAINS) >= 25
    assert len(SUBMITS) == 2, "tests of accel.cli.submit run these"


SHELL = [block for block in BLOCKS if block.language in ("bash", "sh")]


@pytest.mark.parametrize("block", SHELL, ids=where)
def test_a_shell_script_is_sound_and_its_settings_compose(block: Block) -> None:
    subprocess.run(["bash", "-n"], input=block.text, text=True, check=True)
    trains = re.findall(r"-m accel\.train ([^;\n]*)", block.text)
    assert trains
    for words in trains:
        accel.compose(shlex.split(words, comments=True))


def test_the_commands_of_the_help(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    lines = [line.strip() for line in capsys.readouterr().out.splitlines() if line.strip().startswith("python -m accel.train")]
    (here / "conf").mkdir()
    assert len(lines) >= 5
    seen = {tuple(words_of(line)) for line in TRAINS}
    for line in lines:
        words = words_of(re.split(r"  +", line.replace("NAME", "quick"))[0])
        if tuple(words) not in seen:
            train(words, capsys)


@pytest.mark.parametrize("name", plugin_registry.names())
def test_the_command_on_the_page_of_a_plugin(name: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert accel_main.main(["plugins", name]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.strip().startswith("python -m accel.train")]
    assert words_of(line) == [f"+plugins=[{name}]"], "the page in the documentation has the same command"
    reason = unmet_need(plugin_registry.load(name)()) if machine.resolve_device("auto") == "cpu" else ""
    if reason:
        assert main([*words_of(line), "dry_run=true"]) == 2
        assert reason in capsys.readouterr().err
        return
    train(words_of(line), capsys)


def test_the_first_page_begins_with_what_to_type() -> None:
    assert PAGES[0] == "README.md"
    text = (ROOT / "README.md").read_text()
    assert "make train" in text[:1000]
    assert "make test" in text[:1000]
    assert "pip install" in text[:1500]
