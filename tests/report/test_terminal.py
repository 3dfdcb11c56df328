"""No name that comes from a disk, an archive or the command line reaches the terminal as anything but text."""

from __future__ import annotations

import ast
import os
import pickle
import tarfile
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import accel
from accel import __main__
from accel.cli.exit_codes import exit_code
from accel.cli.train_command import main as train
from accel.errors import UNSEEN, AccelWarning, BadSample, ConfigError, TrainingError, visible
from accel.report.terminal import say
from accel.report.visible_console import VisibleConsole
from tests.support.shard_writer import add

NASTY = "cat\x1b[2J\x1b]0;owned\x07\x9b31m\x7f\u202egpj\u2066\u200f\u061c\u2028"
OUTERMOST = {"accel/report/terminal.py": "print", "accel/report/visible_console.py": "Console"}


def unseen(text: str) -> list[str]:
    return [letter for letter in UNSEEN.findall(text) if letter not in "\n\t\r"]


@pytest.mark.parametrize("code", [*range(32), *range(127, 160), *range(0x202A, 0x202F), *range(0x2066, 0x206A)])
def test_each_character_is_shown_by_its_number(code: int) -> None:
    assert visible(f"a{chr(code)}b") == (f"a\\x{code:02x}b" if code < 256 else f"a\\u{code:04x}b")


def test_what_people_write_is_left_alone() -> None:
    text = "Katze, Käfer, 猫, кошка, קטה, 🐈 ~/a b\\c"
    assert visible(text) == text
    assert visible("\udcff\u200e") == "\\udcff\\u200e"


@pytest.mark.parametrize("kind", [ConfigError, BadSample, TrainingError, AccelWarning])
def test_errors_and_warnings_hold_no_such_character(kind: type[Exception]) -> None:
    error = kind(f"cannot read {NASTY}\nforged")
    assert not UNSEEN.search(str(error))
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
    with pytest.warns(AccelWarning) as caught:
        warnings.warn(NASTY, AccelWarning, stacklevel=1)
    assert not UNSEEN.search(str(caught[0].message))


def test_lines_and_tables(capsys: pytest.CaptureFixture[str]) -> None:
    from rich.table import Table
    from rich.text import Text

    say(f"{NASTY}\nnext")
    console, table = VisibleConsole(force_terminal=True, width=300), Table(NASTY)
    table.add_row(NASTY)
    table.add_row(Text(NASTY, style="red"))
    console.print(table, NASTY)
    out = capsys.readouterr().out
    assert "next" in out.splitlines()[1]
    assert out.count("cat\\x1b[2J\\x1b]0;owned") >= 3
    assert "\x1b[2J" not in out
    assert "\x9b" not in out
    assert "\x1b[" in out, "its own colours are there"


def test_nothing_is_printed_but_by_the_outermost_functions() -> None:
    root = Path(accel.__file__).parent
    for path in root.rglob("*.py"):
        relative, text = path.relative_to(root.parent).as_posix(), path.read_text()
        for node in ast.walk(ast.parse(text)) if "print(" in text or "Console(" in text else ():
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("print", "Console"):
                assert OUTERMOST.get(relative) == node.func.id, f"{relative}:{node.lineno} prints; use say or VisibleConsole"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Class folders of nasty names, with a picture that cannot be read."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for split in ("train", "val"):
        for name in (NASTY, "dog"):
            folder = tmp_path / f"data{NASTY}" / split / name
            folder.mkdir(parents=True)
            for number in range(3):
                Image.fromarray(np.full((20, 20, 3), 80 * number, np.uint8)).save(folder / f"{number}{NASTY}.png")
    return tmp_path / f"data{NASTY}"


@pytest.mark.slow
def test_a_run_and_its_errors_show_names_as_text(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "task=images",
        f'task.root="{root}"',
        "task.size=8",
        "batch_size=4",
        "device=cpu",
        f'out="run{NASTY}"',
        "+plugins=[threads]",
    ]
    assert train(words) == 0
    shown = capsys.readouterr()
    assert "resume with" in shown.out
    assert not unseen(shown.out + shown.err)
    next((root / "train" / NASTY).iterdir()).write_bytes(b"no picture")
    assert train([*words[:-1], "out=other"]) == 2
    shown = capsys.readouterr()
    assert "cannot be decoded" in shown.err or "cannot" in shown.err
    assert not unseen(shown.out + shown.err)


def test_pack_shows_names_as_text(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("lmdb", reason="needs the extra lmdb")
    next((root / "train" / NASTY).iterdir()).write_bytes(b"no picture")
    with tarfile.open(f"{NASTY}.tar", "w") as tar:
        add(tar, f"{NASTY}.jpg", b"x")
        add(tar, f"{NASTY}.cls", NASTY.encode())
    for source in (str(root), f"{NASTY}.tar", f"none{NASTY}", f"--none{NASTY}"):
        for more in ((), ("--on-error", "skip"), ("--dry-run",)):
            exit_code(lambda words=("pack", source, f"out{NASTY}", "--workers", "1", *more): __main__.main(list(words)))  # type: ignore[misc]
    exit_code(lambda: __main__.main(["pack", "--check", *map(str, Path(f"out{NASTY}").iterdir()), f"none{NASTY}.raw"]))
    exit_code(lambda: __main__.main(["plugins", NASTY]))
    exit_code(lambda: __main__.main([NASTY]))
    exit_code(lambda: __main__.main(["completion", NASTY]))
    shown = capsys.readouterr()
    assert "left out: " in shown.out
    assert "none" in shown.out + shown.err
    assert not unseen(shown.out + shown.err)
    assert os.path.exists(f"out{NASTY}/train.lmdb")
