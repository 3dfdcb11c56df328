"""`run.stop(reason)` ends a run with an update, from a watch or from a loss, and it stays ended."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from accel.cli.train_command import main
from accel.errors import AccelWarning, ConfigError
from accel.parts import Watch
from accel.plugins.accumulate import Accumulate
from accel.plugins.average import Average
from accel.plugins.lr_range import LRRange
from accel.plugins.threads import Threads
from accel.plugins.workers import Workers
from accel.trainer import Trainer
from tests.support.judged_task import Judged, Keeps, Reads

X = torch.arange(24.0)[:, None] / 24


class Ends(Watch):
    """Ends the run after an update, or at the first evaluation, if `update` is 0."""

    def __init__(self, update: int, reason: str = "enough") -> None:
        super().__init__()
        self.update, self.reason = update, reason

    def begin(self, run: Any) -> None:
        self.run = run

    def after(self, step: int, loss: Tensor) -> None:
        if step == self.update:
            self.run.stop(self.reason)

    def evaluated(self, epoch: float, metrics: dict[str, float]) -> None:
        if not self.update:
            self.run.stop(self.reason)


def fit(watch: Watch | None, loss: Any = None, **settings: Any) -> Any:
    settings = {"epochs": 3, "plugins": [], **settings}
    default = lambda model, batch: model(batch[0]).square().mean()  # noqa: E731
    torch.manual_seed(0)
    model = nn.Linear(1, 1)
    return Trainer(
        model, TensorDataset(X), TensorDataset(X[:8]), loss or default, watch=[] if watch is None else [watch], batch_size=4,
        device="cpu", **settings,
    ).fit()  # fmt: skip


@pytest.mark.filterwarnings("ignore:threads has no effect")
@pytest.mark.parametrize("update", [1, 4, 6, 7, 12])
@pytest.mark.parametrize("plugins", [[], [Threads()]], ids=["plain", "threads"])
def test_a_watch_ends_the_run_with_its_update(update: int, plugins: list[Any], tmp_path: Path) -> None:
    result = fit(Ends(update), plugins=plugins, out=tmp_path / "run")
    assert (result.updates, result.stopped, result.samples) == (update, "enough", 4 * update)
    assert result.metrics, "it is evaluated"
    assert max((tmp_path / "run/checkpoints").glob("*.json")).stem.startswith(f"update-{update:08d}")
    with pytest.warns(AccelWarning, match=r"the run has ended early \(enough\), and trains no more"):
        again = fit(None, plugins=plugins, out=tmp_path / "run", resume=tmp_path / "run")
    assert (again.updates, again.stopped, again.history) == (update, "enough", result.history)
    longer = fit(None, plugins=plugins, resume=tmp_path / "run", epochs=4)
    assert (longer.updates, longer.stopped) == (24, ""), "with another length it goes on"
    whole = fit(None, plugins=plugins, epochs=4)
    assert all(map(torch.equal, whole.model.parameters(), longer.model.parameters()))


def test_a_watch_ends_it_at_an_evaluation() -> None:
    assert fit(Ends(0)).updates == 6
    assert fit(Ends(0), evaluate_every=4).updates == 4


@pytest.mark.parametrize("micro_batch", [0, 1])
def test_a_loss_ends_it_through_a_watch(micro_batch: int) -> None:
    watch, calls = Ends(-1), []

    def loss(model: nn.Module, batch: Any) -> Tensor:
        if model.training:
            calls.append(0)
            if len(calls) == 2 + micro_batch + 1:
                watch.run.stop("by the loss")
        out: Tensor = model(batch[0]).square().mean()
        return out

    result = fit(watch, loss, plugins=[Accumulate(steps=2)])
    assert (result.updates, result.stopped) == (2, "by the loss"), "the window is done"


def test_the_first_reason_counts_and_an_empty_one_is_none() -> None:
    assert fit(Ends(2, "first")).stopped == "first"
    with pytest.raises(ConfigError, match=r"run\.stop\(reason\) needs a reason"):
        fit(Ends(2, ""))


class Early(Ends):
    """The same, which has the run from its set-up on."""

    def setup(self, run: Any) -> None:
        self.run = run


@pytest.mark.parametrize("kind", ["evaluation", "updates", "batch_norm"])
def test_what_a_trial_asks_for_is_undone(kind: str) -> None:
    watch, asked = Early(-1), []
    plugins = {"updates": [LRRange(updates=12)], "batch_norm": [Average()]}.get(kind, [])
    model = nn.Sequential(nn.Linear(1, 2), nn.BatchNorm1d(2), nn.Linear(2, 1))

    def loss(model: nn.Module, batch: Any) -> Tensor:
        first = {"evaluation": not model.training, "updates": model.training, "batch_norm": not torch.is_grad_enabled()}[kind]
        if first and (kind != "batch_norm" or model.training) and not asked:
            watch.run.stop("on trial")
            asked.append(watch.run.progress.step)
        out: Tensor = model(batch[0]).square().mean()
        return out

    result = Trainer(
        model, TensorDataset(X), TensorDataset(X[:8]), loss, watch=[watch], batch_size=4, device="cpu", epochs=2, plugins=plugins
    ).fit()
    assert asked == [6 if kind == "batch_norm" else 0]
    assert (result.updates, result.stopped) == (12, "")


ENDS = {"loss": 5, "metrics": 4, "evaluated": 4, "data": 5, "data to evaluate on": 4}
"""The update that ends the run, by what asks when 4 are done."""


@pytest.mark.filterwarnings("ignore:(threads|resume=.*the run has ended early)")
@pytest.mark.parametrize("plugins", [[], [Threads()], [Accumulate(2)]], ids=["plain", "threads", "accumulate"])
@pytest.mark.parametrize("where", ENDS)
def test_whatever_asks_the_run_ends_with_an_update_and_stays_ended(where: str, plugins: list[Any], tmp_path: Path) -> None:
    out = tmp_path / "run"
    result = Judged(where, plugins=plugins, out=out).fit()
    per_update = 1 + (bool(plugins) and plugins[0].name == "accumulate")
    assert result.stopped == f"asked by the {where}"
    is_read_ahead = where == "data" and plugins and plugins[0].name != "accumulate"
    assert result.updates in (range(4, 9) if is_read_ahead else [ENDS[where]])
    assert result.samples >= 4 * per_update * result.updates - 8
    assert result.history[-1] == {**result.history[-1], **result.metrics}
    assert result.history[-1].get("update", result.updates) == result.updates, "the end is evaluated"
    assert json.loads((out / "summary.json").read_text())["stopped"] == result.stopped
    assert max((out / "checkpoints").glob("*.json")).stem.startswith(f"update-{result.updates:08d}")
    again = Judged("nobody", plugins=plugins, resume=out).fit()
    assert (again.updates, again.stopped, again.history) == (result.updates, result.stopped, result.history)
    assert all(map(torch.equal, again.model.parameters(), result.model.parameters()))


def test_a_process_that_reads_data_is_told_that_it_ends_nothing() -> None:
    watch = Keeps()
    with pytest.raises(ConfigError, match=r"run.stop\(reason\) was called in a process that reads data, and would end nothing"):
        Trainer(
            nn.Linear(1, 1), Reads(lambda: watch.run.stop("enough")), None, lambda model, batch: model(batch).mean(),
            watch=[watch], plugins=[Workers(1)], batch_size=4, device="cpu",
        ).fit()  # fmt: skip


def test_the_command_ends_with_code_0(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    Path("mine.py").write_text(MINE)
    words = ["task._target_=mine.Task", "plugins.ends._target_=mine.Ends", "~plugins.progress", "batch_size=4", "device=cpu"]
    assert main([*words, "out=run"]) == 0
    summary = json.loads(Path("run/summary.json").read_text())
    assert (summary["updates"], summary["stopped"], summary["epochs"]) == (3, "the loss has seen enough", 0)
    assert main([*words, "resume=run"]) == 0
    assert json.loads(Path("run/summary.json").read_text())["updates"] == 3


MINE = """
import torch
from dataclasses import dataclass
from accel import Trainer
from accel.parts import Watch

@dataclass(eq=False)
class Ends(Watch):
    def begin(self, run):
        Task.run = run

class Task(Trainer):
    run = None

    def model(self):
        return torch.nn.Linear(1, 1)

    def data(self, split):
        return torch.utils.data.TensorDataset(torch.ones(24, 1))

    def loss(self, model, batch):
        if Task.run is not None and Task.run.progress.step == 2 and model.training:
            Task.run.stop("the loss has seen enough")
        return model(batch[0]).square().mean()
"""
