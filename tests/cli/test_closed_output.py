"""Output that cannot be written: closed, left by its reader, or on a full disk. Work goes on, and no traceback is seen."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from accel import Trainer, __main__
from accel.cli.exit_codes import exit_code
from accel.cli.train_command import main
from accel.errors import AccelWarning
from accel.plugins.progress import Progress
from accel.system.pipes import FailSafeStream, open_missing

MODULE = """
from typing import Any
import torch
from torch import nn
from accel import Trainer

class Mean(Trainer):
    def model(self) -> nn.Module:
        return nn.Linear(2, 1)

    def data(self, split: str) -> Any:
        return torch.utils.data.TensorDataset(torch.ones(8, 2))

    def loss(self, model: nn.Module, batch: Any) -> Any:
        return model(batch[0]).square().mean()
"""
KINDS = ("closed", "left", "full", "shut")
WORDS = ["plugins", "plugins amp", "completion bash", "train --help", "train --cfg job", "--help", "--version"]


@contextmanager
def broken(kind: str) -> Iterator[Any]:
    """A standard stream that cannot be written: None, as Python has it for `>&-`; without a reader; on a full disk; closed."""
    if kind == "closed":
        yield None
        return
    if kind == "left":
        reader, writer = os.pipe()
        os.close(reader)
        stream: TextIO = open(writer, "w")  # noqa: SIM115
    else:
        stream = open("/dev/full", "w")  # noqa: SIM115
    if kind == "shut":
        stream.close()
    yield stream
    stream.close()  # raises if something is left that cannot be written


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "closed_mine.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("words", WORDS)
def test_a_command_that_only_prints(words: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    err = io.StringIO()
    with broken(kind) as stream, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stream)
        patch.setattr(sys, "stderr", err)
        try:
            code = exit_code(lambda: __main__.main(words.split()))
        except SystemExit as done:  # of --version
            code = int(done.code or 0)
    if kind == "full" and words != "--version":
        assert (code, err.getvalue()) == (1, "accel: error: the output cannot be written: No space left on device\n")
    elif words != "--version":
        assert (code, err.getvalue()) == (0, "")


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_of_the_command_line_goes_on(kind: str, mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    err = io.StringIO()
    with broken(kind) as stream, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stream)
        patch.setattr(sys, "stderr", err)
        assert main(["task._target_=closed_mine.Mean", "epochs=2", "out=run"]) == 0
    assert json.loads((mine / "run/summary.json").read_text())["epochs"] == 2
    assert err.getvalue().count("accel: warning: the output cannot be written (No space left on device)") == (kind == "full")
    assert err.getvalue().count("\n") == (kind == "full")


@pytest.mark.parametrize("kind", KINDS)
def test_errors_that_nobody_can_see_have_their_code(kind: str, mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with broken(kind) as stream, monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", stream)
        assert main(["epoch=3"]) == 2
        assert exit_code(lambda: __main__.main(["tarin"])) == 2
        assert exit_code(lambda: __main__.main(["pack"])) == 2
        assert exit_code(lambda: __main__.main(["pack", "--check", "nothing.lmdb"])) == 2
        assert exit_code(lambda: __main__.main(["drill", "kil"])) == 2
        assert main(["task._target_=closed_mine.Mean", "epochs=1", "out=run", "resume=auto", "~plugins.progress"]) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_script_keeps_its_result(kind: str, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder) -> None:
    with broken(kind) as stream, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stream)
        trainer = Trainer(
            model=nn.Linear(2, 1), data=TensorDataset(torch.ones(8, 2)), loss=lambda model, batch: model(batch[0]).square().mean(),
            epochs=3, watch=[Progress(every=1e-9)],
        )  # fmt: skip
        with pytest.warns(AccelWarning) if kind == "full" else monkeypatch.context():
            result = trainer.fit()
    assert result.epochs == 3
    assert not recwarn.list


def test_output_goes_on_when_there_is_room(tmp_path: Path) -> None:
    full, log = os.open("/dev/full", os.O_WRONLY), tmp_path / "log"
    file = FailSafeStream(open(full, "w"))  # noqa: SIM115
    with pytest.warns(AccelWarning, match="the output cannot be written"):
        print("lost", file=file, flush=True)  # type: ignore[call-overload]
    room = os.open(log, os.O_WRONLY | os.O_CREAT)
    os.dup2(room, full)
    os.close(room)
    print("kept", file=file, flush=True)  # type: ignore[call-overload]
    assert log.read_text() == "kept\n"
    file.close()


@pytest.mark.slow
def test_closed_streams_give_their_numbers_to_no_file(mine: Path) -> None:
    command = f"{sys.executable} -m accel.train task._target_=closed_mine.Mean epochs=2 out=run >&- 2>&- <&-"
    assert subprocess.run(command, shell=True, cwd=mine, check=False).returncode == 0
    assert len((mine / "run/metrics.jsonl").read_text().splitlines()) == 4
    before = len(os.listdir("/proc/self/fd"))
    open_missing()
    assert len(os.listdir("/proc/self/fd")) == before
