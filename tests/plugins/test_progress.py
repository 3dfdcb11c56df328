from __future__ import annotations

import io
import re
import sys
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from accel.errors import AccelWarning
from accel.parts import Parallel
from accel.plugins.amp import AMP
from accel.plugins.clip import Clip
from accel.plugins.progress import Progress
from accel.testing import fit_toy
from accel.trainer import Trainer

COMMAND = "python -m accel.train '+plugins=[amp,ema]' plugins.amp.dtype=float16 a.very.long.setting=1"
ESCAPE = re.compile(r"\x1b\[[?0-9;]*[a-zA-Z]")


class Terminal(io.StringIO):
    """What a terminal is to those who ask."""

    def isatty(self) -> bool:
        return True


def updates(text: str) -> list[str]:
    """The plain lines about an update."""
    return re.findall(r"^epoch .*  update .*$", text, re.MULTILINE)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "24")
    return Terminal()


def test_in_a_pipe(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    fit_toy([Progress(every=3600), "metrics", "adamw"], out=tmp_path, command=COMMAND)
    text = capsys.readouterr().out
    lines = text.splitlines()

    assert not ESCAPE.search(text)
    assert re.search(r"^adamw +Optim +lr=0.001, ", text, re.MULTILINE)
    assert re.search(r"^updates +12 = 2 epochs x 6 *$", text, re.MULTILINE)
    assert [line.split("  ")[0] for line in lines if line.startswith("epoch ")] == ["epoch 1/2", "epoch 2/2"]
    assert re.search(r"^epoch 2/2  loss \d\.\d+  val loss \d\.\d+$", text, re.MULTILINE)
    assert re.search(r"^val loss \d\.\d+ *$", text, re.MULTILINE)
    shares = [float(share) for share in re.findall(r"^  [a-z]+ +(\d+\.\d) %", text, re.MULTILINE)]
    assert len(shares) == 9, "compiling is left out where nothing was compiled"
    assert round(10 * sum(shares)) == 1000, "as printed, they add up"
    for name in ("metrics.jsonl", "curves.svg", "summary.json", "plan.json", "model.safetensors", "checkpoints/ (4 files)"):
        assert name in text.partition("written to")[2]
    assert f"  {COMMAND} resume={tmp_path}" in lines, "in one line, and with its brackets"
    assert all(len(line) <= 80 for line in lines if not line.startswith("  python -m accel") and str(tmp_path) not in line)


def test_plain_lines_keep_their_distance(capsys: pytest.CaptureFixture[str]) -> None:
    fit_toy([Progress(every=1e-9)])
    lines = updates(capsys.readouterr().out)
    assert len(lines) == 12
    assert re.fullmatch(
        r"epoch 2/2  update 12/12  loss \d\.\d{4}  lr 1.00e-02  [\d,]+ samples/s  data wait \d+%  0:00 left", lines[-1]
    ), lines[-1]
    fit_toy([Progress(every=3600)])
    assert not updates(capsys.readouterr().out)


def test_the_loss_shown_is_that_of_the_update_shown(capsys: pytest.CaptureFixture[str]) -> None:
    run = fit_toy([Progress(every=1e-9)])
    shown = re.findall(r"update \d+/12  loss ([\d.]+)", capsys.readouterr().out)
    assert shown == [f"{float(loss):.4f}" for loss in run.losses]


def test_skipped_updates_are_shown_where_there_can_be_any(capsys: pytest.CaptureFixture[str]) -> None:
    fit_toy([Progress(every=1e-9), AMP(dtype="float16", force=True)], overflow=[3, 8])
    text = capsys.readouterr().out
    assert re.findall(r"(\d) skipped  ", text) == list("001111122222")
    assert "12 updates (2 skipped)" in text
    fit_toy([Progress(every=1e-9)])
    assert "skipped" not in capsys.readouterr().out


def test_on_a_terminal_one_line_renews_itself(terminal: Terminal) -> None:
    with redirect_stdout(terminal):
        fit_toy([Progress(refresh=1e-9)])
    raw = terminal.getvalue()
    assert "\x1b[2K" in raw, "lines are drawn anew in place"
    text = ESCAPE.sub("", raw)
    drawn = [line for line in re.split(r"[\r\n]", text) if "update " in line and " left" in line]
    assert len(drawn) >= 12
    assert all(len(line) < 80 for line in drawn)
    assert raw.rstrip().rfind("\x1b[?25h") > raw.rfind("\x1b[?25l"), "the cursor is back"
    assert "where the time went" in text


def test_resumed_just_before_an_evaluation(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    fit_toy([Progress()], out=tmp_path, checkpoint_every=2, stop=7)
    capsys.readouterr()
    fit_toy([Progress(every=1e-9)], resume=tmp_path / "checkpoints/update-00000006-epoch-0000.pt")
    text = capsys.readouterr().out
    assert re.search(r"^epoch 1/2  val loss \d\.\d+$", text, re.MULTILINE), "no update was made, so there is no loss to show"
    assert updates(text)[0].startswith("epoch 2/2  update 7/12  ")


def test_after_an_error_the_terminal_is_as_it_was(terminal: Terminal) -> None:
    def broken(model: torch.nn.Module, batch: object) -> torch.Tensor:
        raise RuntimeError("mine")

    with redirect_stdout(terminal):
        with pytest.raises(RuntimeError, match="mine"):
            Trainer(torch.nn.Linear(3, 1), [torch.ones(2, 3)], loss=broken, watch=["progress"]).fit()
        assert sys.stdout is terminal, "rich puts its own in place while the line is live"
    assert terminal.getvalue().rfind("\x1b[?25h") > terminal.getvalue().rfind("\x1b[?25l")
    assert "where the time went" not in terminal.getvalue()


@dataclass(eq=False)
class Second(Parallel):
    """The second of several processes."""

    @property
    def rank(self) -> int:
        return 1


def test_only_the_first_process_speaks(terminal: Terminal, capsys: pytest.CaptureFixture[str]) -> None:
    fit_toy([Progress(refresh=1e-9, every=1e-9), Second()])
    assert capsys.readouterr().out == ""
    with redirect_stdout(terminal):
        fit_toy([Progress(refresh=1e-9, every=1e-9), Second()])
    assert terminal.getvalue() == ""


def test_a_dry_run_says_that_nothing_was_written(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    fit_toy([Progress()], out=tmp_path, dry_run=True)
    text = capsys.readouterr().out
    assert text.rstrip().splitlines()[-1] == "dry run: everything was built and one update made; nothing was written"
    assert "effective batch" in text
    assert "where the time went" not in text


def test_the_plan_can_be_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    fit_toy([Progress(plan=False)])
    assert "effective batch" not in capsys.readouterr().out


def test_data_of_unknown_length(capsys: pytest.CaptureFixture[str]) -> None:
    class Stream(torch.utils.data.IterableDataset[torch.Tensor]):
        def __iter__(self):  # type: ignore[no-untyped-def]
            return iter(torch.ones(5, 3))

    watch = [Progress(every=1e-9)]
    Trainer(torch.nn.Linear(3, 1), Stream(), loss=lambda model, x: model(x).mean(), watch=watch, batch_size=2).fit()
    lines = updates(capsys.readouterr().out)
    assert len(lines) == 3
    assert "update 3  " in lines[-1]
    assert " left" not in lines[-1]


def test_nothing_is_read_on_the_host(capsys: pytest.CaptureFixture[str]) -> None:
    run = fit_toy([Progress(every=1e-9), AMP(dtype="float16", force=True), "adamw"], overflow=[3], counts=True)
    assert run.spy.reads.count == 0, run.spy.reads.places
    assert len(updates(capsys.readouterr().out)) == 12, "and yet every update was shown"


def test_a_warning_is_shown_once_and_points_at_the_users_line(capsys: pytest.CaptureFixture[str]) -> None:
    net, data, clip = torch.nn.Linear(3, 1), [torch.ones(2, 3)], Clip(max_value=3.0)
    trainer = Trainer(net, data, loss=lambda model, x: model(x).mean(), plugins=[clip], batch_size=4)
    with pytest.warns(AccelWarning) as caught:
        trainer.fit()
    sentences = [str(warning.message) for warning in caught]
    assert len(sentences) == len(set(sentences)) == 2
    assert {warning.filename for warning in caught} == {__file__}
    shown = " ".join(capsys.readouterr().out.split())
    assert not [sentence for sentence in sentences if sentence in shown], "Python has shown it"
