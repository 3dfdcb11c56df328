"""Saving beside the training: one at a time, the same bits, the right ones kept, and every failure heard of."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from math import inf, nan
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from accel.checkpoints import FOLDER, damage
from accel.checkpoints.manifest import Manifest
from accel.checkpoints.retention import CheckpointFolder
from accel.checkpoints.weights.best_metric import BestMetric
from accel.errors import ConfigError, TrainingError
from accel.parts import Objective, Progress, Watch
from accel.plugins.adamw import AdamW
from accel.system import atomic_files
from accel.system.faults import armed
from accel.testing import fit_toy
from accel.testing.toy_run import Toy
from tests.support.keeps_saver import KeepsSaver


def kept(run: Path) -> list[str]:
    return sorted(path.stem for path in (run / FOLDER).glob("*.json"))


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Holds the writing thread at the place `saving.state.begun` until it is opened; counts who passed."""

    @dataclass
    class Gate:
        opened: threading.Event = field(default_factory=threading.Event)
        arrived: threading.Event = field(default_factory=threading.Event)
        passed: list[str] = field(default_factory=list)

    gate = Gate()

    def hold() -> None:
        gate.arrived.set()
        assert gate.opened.wait(60)
        gate.passed.append(threading.current_thread().name)

    monkeypatch.setitem(armed, "saving.state.begun", hold)
    return gate


@dataclass(eq=False)
class At(Watch):
    """Calls `act(step)` after each update."""

    act: Any = None

    def begin(self, run: Any) -> None:
        self.run = run

    def after(self, step: int, loss: torch.Tensor) -> None:
        self.act(self, step)


def test_training_goes_on_while_a_checkpoint_is_written_and_it_is_of_the_update_it_names(gate: Any, tmp_path: Path) -> None:
    seen: dict[int, list[torch.Tensor]] = {}

    def act(watch: At, step: int) -> None:
        seen[step] = [param.detach().clone() for param in watch.run.unwrapped_model.parameters()]
        if step == 5:  # two updates after the third, whose checkpoint has not been begun
            assert gate.arrived.wait(60)
            assert not list((tmp_path / "run" / FOLDER).glob("*.pt"))
            gate.opened.set()

    fit_toy([AdamW(), At(act=act)], epochs=1, out=tmp_path / "run", checkpoint_every=3)
    assert set(gate.passed) == {"accel-saver"}
    state = torch.load(tmp_path / "run" / FOLDER / "update-00000006-epoch-0000.pt", weights_only=True)
    assert all(map(torch.equal, state["model"].values(), seen[6]))


def test_what_is_being_written_when_a_run_ends_with_an_error_is_whole(gate: Any, tmp_path: Path) -> None:
    def act(watch: At, step: int) -> None:
        if step == 4:
            gate.opened.set()
            raise RuntimeError("the cupboard is bare")

    with pytest.raises(RuntimeError, match="cupboard"):
        fit_toy([At(act=act)], out=tmp_path / "run", checkpoint_every=3)
    assert damage(tmp_path / "run" / FOLDER / "update-00000003-epoch-0000.pt") is None
    assert "accel-saver" not in {thread.name for thread in threading.enumerate()}


@dataclass(eq=False)
class Odd(Objective):
    """Has a state that no checkpoint can hold."""

    def state_dict(self) -> dict[str, Any]:
        return {"model": nn.Linear(1, 1)}


def test_a_state_that_cannot_be_saved_ends_the_run_with_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"the state of parts\.odd\.model holds a Linear"):
        fit_toy([Odd()], out=tmp_path / "run")


def test_an_error_in_the_thread_is_the_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail() -> None:
        raise RuntimeError("not of the disk")

    monkeypatch.setitem(armed, "saving.state.written", fail)
    with pytest.raises(RuntimeError, match="not of the disk"):
        fit_toy([], out=tmp_path / "run", checkpoint_every=2)
    assert list((tmp_path / "run" / FOLDER).iterdir()) == [], "nothing half written is left"


@pytest.mark.parametrize("keep", [1, 3])
def test_the_newest_are_kept(keep: int, tmp_path: Path) -> None:
    fit_toy([], epochs=4, out=tmp_path / "run", checkpoint_keep=keep)
    assert kept(tmp_path / "run") == [f"update-{6 * epoch:08d}-epoch-{epoch:04d}" for epoch in range(5 - keep, 5)]
    assert sorted(path.suffix for path in (tmp_path / "run" / FOLDER).iterdir()) == sorted([".json", ".pt"] * keep)


class Scored(Toy):
    """Its evaluations give `scores` in turn, a batch of one at a time."""

    aside = ("overflow", "scores")

    def __init__(self, scores: Any = (), **run: Any) -> None:
        super().__init__(**run)
        self.scores, self.evaluations = list(scores), 0

    def data(self, split: str) -> Any:
        return super().data(split) if split == "train" else [torch.ones(1)]

    def metrics(self, model: nn.Module, batch: Any) -> Any:
        self.evaluations += 1
        return {"accuracy": torch.tensor(self.scores[(self.evaluations - 1) % len(self.scores)])}


@pytest.mark.parametrize(
    ("best", "scores", "epoch"),
    [("accuracy", [0.1, 0.9, 0.9, 0.5, 0.2], 2), ("min:accuracy", [0.5, 0.1, 0.9, 0.5, 0.2], 2),
     ("max:accuracy", [float("nan"), 0.3, 0.1, 0.1, 0.1], 2), ("accuracy", [0.1, 0.2, 0.3, 0.4, 0.5], 5)],
)  # fmt: skip
def test_the_best_is_kept(best: str, scores: list[float], epoch: int, tmp_path: Path) -> None:
    run = tmp_path / "run"
    Scored(scores, plugins=[], watch=(), epochs=5, batch_size=4, out=run, checkpoint_best=best, checkpoint_keep=1).fit()
    assert kept(run) == sorted({f"update-{6 * epoch:08d}-epoch-{epoch:04d}", "update-00000030-epoch-0005"})
    record = Manifest.read(run / FOLDER / f"{kept(run)[0]}.json")
    assert record.metrics == {"accuracy": pytest.approx(scores[epoch - 1])}


def test_the_best_of_before_counts_when_a_run_goes_on(tmp_path: Path) -> None:
    run, settings = tmp_path / "run", {"watch": (), "batch_size": 4, "checkpoint_best": "accuracy", "checkpoint_keep": 1}
    Scored([0.1, 0.9, 0.2], epochs=3, out=run, **settings).fit()
    Scored([0.1, 0.9, 0.2, 0.3, 0.4], epochs=5, resume=run, **settings).fit()
    assert kept(run) == ["update-00000012-epoch-0002", "update-00000030-epoch-0005"]


def test_a_metric_without_data_to_evaluate_on(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"watch": (), "batch_size": 4, "epochs": 2}
    with pytest.raises(ConfigError, match=r"checkpoint.best needs data to evaluate on"):
        NoVal(out=tmp_path / "other", checkpoint_best="loss", **settings).fit()


class NoVal(Toy):
    def data(self, split: str) -> Any:
        return super().data(split) if split == "train" else None


def test_which_end_of_a_metric_is_better() -> None:
    lower = [
        "loss",
        "val_loss",
        "top1_error",
        "perplexity",
        "bits_per_byte",
        "mae",
        "min:accuracy",
        "val/loss",
        "valLoss",
        "nll",
        "loss:mean",
        "mean-err",
    ]
    assert all(BestMetric.read(text).lower for text in lower)
    assert not any(BestMetric.read(text).lower for text in ["accuracy", "f1", "answered", "max:loss", "certainty", "maestro"])


@dataclass(eq=False)
class Poison(Watch):
    """Makes the weights NaN after update `at`."""

    at: int = 0

    def begin(self, run: Any) -> None:
        self.run = run

    def after(self, step: int, loss: torch.Tensor) -> None:
        if step == self.at:
            with torch.no_grad():
                next(iter(self.run.unwrapped_model.parameters()))[0] = torch.nan


@pytest.mark.filterwarnings("ignore:the run ended with weights that are not finite")
def test_the_last_that_is_finite_is_never_taken_away(tmp_path: Path) -> None:
    run = tmp_path / "run"
    fit_toy([Poison(at=7)], epochs=4, out=run)
    assert kept(run) == ["update-00000006-epoch-0001", "update-00000018-epoch-0003", "update-00000024-epoch-0004"]
    manifests = CheckpointFolder(run / FOLDER, 2, None).manifests.values()
    assert [manifest.finite for manifest in manifests] == [True, False, False]
    with pytest.warns(Warning, match=r"update-00000024-epoch-0004 holds numbers that are not finite; go back to .*update-00000006"):
        fit_toy([], epochs=4, resume=run)
    fit_toy([], epochs=2, resume=run / FOLDER / "update-00000006-epoch-0001.pt")
    assert kept(run) == ["update-00000006-epoch-0001", "update-00000012-epoch-0002"], "what was gone back from is of another run"


def test_the_record_names_every_file_with_its_hash(tmp_path: Path) -> None:
    fit_toy([], epochs=1, out=tmp_path / "run")
    (path,) = (tmp_path / "run" / FOLDER).glob("*.json")
    about = json.loads(path.read_text())
    file = path.with_suffix(".pt")
    stream = atomic_files.HashingStream(open("/dev/null", "wb"))  # noqa: SIM115
    stream.write(file.read_bytes())
    stream.file.close()
    assert about["files"] == {file.name: stream.checksum()}
    assert about["progress"] == {"step": 6, "epoch": 1, "batch": 0, "samples": 22}
    assert about["finite"] is True
    assert about["metrics"].keys() == {"loss"}
    assert about["versions"]["torch"] == torch.__version__


@pytest.mark.parametrize(
    ("every", "best", "saved"), [(1, None, [1, 2, 3, 4, 5]), (2, None, [2, 4, 5]), (9, None, [5]), (3, "min:loss", [])]
)
def test_the_ends_of_some_epochs(every: int, best: str | None, saved: list[int], tmp_path: Path) -> None:
    run = fit_toy([], epochs=5, out=tmp_path, checkpoint_epochs=every, checkpoint_keep=99, checkpoint_best=best)
    if best is not None:
        history = run.spy.run.history
        lowest = [min(one["loss"] for one in history[: epoch + 1]) for epoch in range(5)]
        saved = [epoch for epoch in range(1, 6) if epoch in (3, 5) or history[epoch - 1]["loss"] == lowest[epoch - 1]]
    assert [int(name[-4:]) for name in kept(tmp_path)] == saved
    assert fit_toy([], epochs=6, resume=tmp_path, checkpoint_epochs=4).losses, "another thinning is the same run"


@pytest.mark.parametrize("metric", ["accuracy", "loss"])
def test_what_is_better_than_all_others(metric: str) -> None:
    """One rule for the end of an epoch, which knows the evaluations, and for the weights, which are compared with checkpoints."""
    best, sign = BestMetric.read(metric), 1 if metric == "accuracy" else -1

    def improves(last: float | None, *others: float | None) -> bool:
        rows: list[dict[str, float | None]] = [{metric: None if value is None else sign * value} for value in (last, *others)]
        return best.improves(rows[0], rows[1:])

    assert improves(0.5)
    assert improves(0.6, 0.5, nan)
    assert improves(-1e300, nan, None, inf, -inf), "what is not finite is no evaluation to be compared with"
    assert not improves(0.5, 0.5)
    for value in (nan, inf, -inf, None):
        assert not improves(value)
        assert not improves(value, 0.5, value)
    assert not best.improves({"other": 1.0}, [])


@pytest.mark.parametrize(("history", "due"), [
    ([], False), ([{"accuracy": 0.5}], True), ([{"accuracy": inf}], False), ([{"accuracy": nan}, {"accuracy": 0.1}], True),
    ([{"accuracy": inf}, {"accuracy": 0.1}], True), ([{"accuracy": 0.5}, {"accuracy": 0.5}], False), ([{"loss": 0.5}], True),
])  # fmt: skip
def test_a_thinned_epoch_is_saved_if_it_is_the_best_or_lacks_the_metric(
    history: list[dict[str, float]], due: bool, tmp_path: Path
) -> None:
    keeps = KeepsSaver()
    run = fit_toy([keeps], epochs=1, out=tmp_path, checkpoint_epochs=9, checkpoint_best="loss").spy.run
    keeps.saver.best, run.history[:], run.epochs = BestMetric.read("accuracy"), history, 9
    assert keeps.saver.epoch_due(Progress(epoch=2)) is due


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"checkpoint_every": 13}, "checkpoint.every=13 is longer than the run of 12 updates; its end is saved anyway"),
        (
            {"checkpoint_every": 13, "checkpoint_epochs": 3},
            "checkpoint.every=13 is longer than the run of 12 updates and checkpoint.epochs=3 is longer than the run of 2; "
            "its end is saved anyway",
        ),
        ({"checkpoint_every": 12, "checkpoint_epochs": 2}, None),
    ],
)
def test_the_plan_says_which_interval_is_longer_than_the_run(settings: dict[str, int], told: str | None, tmp_path: Path) -> None:
    fit_toy([], epochs=2, out=tmp_path / "run", **settings)
    assert json.loads((tmp_path / "run/plan.json").read_text())["facts"].get("checkpoints") == told
    assert kept(tmp_path / "run")[-1] == "update-00000012-epoch-0002"
