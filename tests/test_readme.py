"""Every command and every piece of Python in README.md runs as it stands there."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from accel import __main__
from accel.cli.main import main
from accel.schema import plugin_registry
from accel.system import machine
from accel.testing.plugin_runs import unmet_need

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
LINES = [line for kind, text in BLOCKS if not kind for line in text.splitlines()]
PACKS = [line for line in LINES if line.startswith("python -m accel pack")]
TRAINS = [line for line in LINES if line.startswith("python -m accel.train") and "hydra/launcher=" not in line]
SUBMITS = [line for line in LINES if line.startswith("python -m accel.train") and line not in TRAINS]  # tests/cli/test_submit.py

MINE = """
import torch
from accel import Trainer
class MyTrainer(Trainer):
    def model(self): return torch.nn.Linear(2, 1)
    def data(self, split): return [torch.ones(3, 2)]
    def loss(self, model, batch): return model(batch).square().mean()
"""


def help_text_lines() -> list[str]:
    done = subprocess.run([sys.executable, "-m", "accel.train", "--help"], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with what the commands name: pictures in DIR, bytes in FILE, tokens in TOKENS.npy, and mine.py."""
    image = pytest.importorskip("PIL.Image", reason="the pictures need the extra images")
    rng = np.random.default_rng(0)
    for split, kind in [(split, kind) for split in ("train", "test") for kind in ("cat", "dog")]:
        folder = tmp_path / "DIR" / split / kind
        folder.mkdir(parents=True)
        image.fromarray(rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)).save(folder / "0.png")
    (tmp_path / "FILE").write_bytes(rng.integers(0, 255, 20_000, dtype=np.uint8).tobytes())
    np.save(tmp_path / "TOKENS.npy", rng.integers(0, 300, 2000, dtype=np.uint16))
    (tmp_path / "mine.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("line", TRAINS, ids=lambda line: line.partition("#")[0].removeprefix("python -m ").strip())
def test_the_command_line(line: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = shlex.split(line, comments=True)[3:]
    if "+plugins=[lmdb]" in words or "+plugins=[raw]" in words:
        pack()
    if "resume=auto" in words:
        assert main(["epochs=1"]) == 0
        words.append("epochs=2")
    elif "--multirun" in words:
        words.append("epochs=1")
    else:
        words.append("dry_run=true")
    assert main(words) == 0, capsys.readouterr().err
    shown = capsys.readouterr()
    assert "Traceback" not in shown.err
    assert "update" in shown.out


def pack() -> None:
    """Every command that packs, one after the other."""
    pytest.importorskip("lmdb", reason="needs the extra lmdb")
    for line in PACKS:
        assert __main__.main(shlex.split(line, comments=True)[3:]) == 0, line


def test_the_commands_that_pack(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pack()
    assert {path.name for path in (here / "DIR").glob("*.*")} == {"train.lmdb", "test.lmdb", "train.raw", "test.raw"}
    assert not (here / "ELSEWHERE").exists()
    assert capsys.readouterr().out.count("sound") == 4


HELP = [line.strip() for line in help_text_lines() if line.strip().startswith("python -m accel.train")]


@pytest.mark.parametrize("line", HELP)
def test_the_commands_of_the_help(line: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "conf").mkdir()
    test_the_command_line(re.split(r"  +", line.replace("NAME", "quick"))[0], here, capsys)


@pytest.mark.parametrize("name", plugin_registry.names())
def test_the_command_on_the_page_of_each_plugin(name: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert __main__.main(["plugins", name]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.strip().startswith("python -m accel.train")]
    reason = unmet_need(plugin_registry.load(name)()) if machine.resolve_device("auto") == "cpu" else ""
    if reason:
        assert main([*shlex.split(line)[3:], "dry_run=true"]) == 2
        assert reason in capsys.readouterr().err
        return
    test_the_command_line(line.strip(), here, capsys)


def test_there_are_commands_to_test() -> None:
    assert len(TRAINS) >= 10
    assert "make train" in README[:1000]
    assert "make test" in README[:1000]
    assert "pip install" in README[:1500]


def test_the_listing(capsys: pytest.CaptureFixture[str]) -> None:
    assert __main__.main(["plugins"]) == 0
    assert "onecycle" in capsys.readouterr().out


def test_the_python(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    x = torch.randn(40, 4)
    data = TensorDataset(x, (x.sum(1) > 0).long())
    names = {
        "net": nn.Linear(4, 2), "train_set": data, "test_set": data,
        "loss_fn": lambda model, batch: nn.functional.cross_entropy(model(batch[0]), batch[1]),
    }  # fmt: skip
    (code,) = [text for kind, text in BLOCKS if kind == "python"]
    exec(code, names)
    assert names["result"].metrics["loss"] > 0  # type: ignore[attr-defined]
    assert (here / "runs/one/summary.json").exists()


def test_every_file_that_is_named_is_there() -> None:
    for name in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / name).exists(), name


def test_every_plugin_stands_in_the_table() -> None:
    named = set(re.findall(r"`(\w+)`", README.partition("## The plugins")[2].partition("\n\n")[2].partition("\n\n")[0]))
    assert {path.stem for path in (ROOT / "accel/plugins").glob("[!_]*.py")} <= named
