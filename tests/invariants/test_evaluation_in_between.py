"""An evaluation in the middle of an epoch changes no bit of the training, whoever reads and whatever is on."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from accel.errors import AccelWarning
from accel.parts import Part, Watch
from accel.plugins import AMP, EMA, Accumulate, AdamW, Augment, Average, Clip, Prefetch, Resident, ScheduleFree, Threads, Workers
from accel.trainer import Trainer
from tests.support.drill_length import LONG
from tests.support.own_loaders import own_loader

torch.manual_seed(1)
X, Y = torch.randn(26, 5), torch.randint(0, 3, (26,))
LOADERS = ExitStack()
"""Those of a run that have workers, which end with it."""


class Noisy(Dataset[Any]):
    """Samples that draw from every global generator."""

    def __len__(self) -> int:
        return len(X)

    def __getitem__(self, index: int) -> Any:
        noise = torch.randn(5) + random.random() + np.random.rand()
        return X[index] + 0.1 * noise.float(), Y[index]


class Net(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.ReLU(), nn.Linear(8, 3))


class Task(Trainer):
    """A task that remembers, and whose loss and metrics draw random numbers."""

    def __init__(self, kind: str, **run: Any) -> None:
        super().__init__(**run)
        self.kind, self.losses = kind, list[Tensor]()

    def model(self) -> nn.Module:
        return Net()

    def data(self, split: str) -> Any:
        if self.kind == "loader":
            return DataLoader(Noisy(), 4, shuffle=split == "train")
        if self.kind == "own workers":
            make = lambda: DataLoader(Noisy(), 4, shuffle=split == "train", num_workers=1, persistent_workers=True)  # noqa: E731
            return LOADERS.enter_context(own_loader(make))
        return TensorDataset(X, Y) if self.kind == "in memory" else Noisy()

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        return nn.functional.cross_entropy(model(batch[0]) + torch.rand(()), batch[1])

    def metrics(self, model: nn.Module, batch: Any) -> Any:
        torch.rand(7), random.random(), np.random.rand()
        return {"accuracy": (model(batch[0]).argmax(1) == batch[1]).float().mean()}


class Losses(Watch):
    def begin(self, run: Any) -> None:
        self.run, self.losses, self.evaluations = run, list[float](), list[Any]()

    def after(self, step: int, loss: Tensor) -> None:
        self.losses.append(float(loss))

    def evaluated(self, epoch: float, metrics: dict[str, float]) -> None:
        self.evaluations.append((self.run.progress.step, epoch, metrics))


def fit(kind: str, plugins: Callable[[], list[Part]], **settings: Any) -> tuple[list[float], dict[str, Tensor], list[Any], Any]:
    watch = Losses()
    sizes = {} if kind in ("loader", "own workers") else {"batch_size": 4}
    task = Task(kind, plugins=plugins(), watch=[watch], device="cpu", **{"epochs": 2, **sizes, **settings})
    with LOADERS:
        result = task.fit()
    return watch.losses, result.model.state_dict(), watch.evaluations, result


KINDS: dict[str, tuple[str, Callable[[], list[Part]]]] = {
    "plain": ("data set", list),
    "in memory": ("in memory", list),
    "loader": ("loader", list),
    "own workers": ("own workers", list),
    "threads": ("data set", lambda: [Threads(2)]),
    "workers": ("data set", lambda: [Workers(1)]),
    "prefetch": ("data set", lambda: [Prefetch()]),
    "prefetched loader": ("loader", lambda: [Prefetch()]),
    "threads and prefetch": ("data set", lambda: [Threads(2), Prefetch()]),
    "workers and prefetch": ("data set", lambda: [Workers(1), Prefetch()]),
    "resident": ("in memory", lambda: [Resident()]),
    "accumulate, ema, clip": ("data set", lambda: [Accumulate(2), EMA(), Clip(), AdamW()]),
    "schedule_free, amp": ("data set", lambda: [ScheduleFree(), AMP()]),
    "average": ("data set", lambda: [Average(every=3, batch_norm=2)]),
    "average, loader": ("loader", lambda: [Average(every=3, batch_norm=2), Prefetch()]),
    "average, own workers": ("own workers", lambda: [Average(every=5, batch_norm=2)]),
    "average, threads and prefetch": ("data set", lambda: [Average(every=3, batch_norm=2), Threads(2), Prefetch()]),
    "average, workers and prefetch": ("data set", lambda: [Average(every=3, batch_norm=2), Workers(1), Prefetch()]),
    "average, resident": (
        "in memory", lambda: [Average(last=None, every=3, batch_norm=2), Resident(), Augment(mixup=0.2, num_classes=3)]
    ),
    "augment": ("in memory", lambda: [Augment(label_smoothing=0.1, num_classes=3)]),
}  # fmt: skip


FEW = (
    "loader",
    "own workers",
    "threads and prefetch",
    "workers and prefetch",
    "accumulate, ema, clip",
    "average, resident",
)
"""Those that the suite tries; `make drill` tries all."""


@pytest.mark.filterwarnings("ignore::accel.errors.AccelWarning")
@pytest.mark.parametrize("name", KINDS if LONG else FEW)
@pytest.mark.slow
def test_it_changes_no_bit(name: str) -> None:
    kind, plugins = KINDS[name]
    losses, weights, at_ends, _ = fit(kind, plugins)
    often, same, evaluations, _ = fit(kind, plugins, evaluate_every=1, evaluate_epochs=1)
    assert often == losses
    assert all(torch.equal(weights[key], same[key]) for key in weights)
    updates = len(losses)
    assert [step for step, _, _ in evaluations] == list(range(1, updates + 1)), "each update once"
    assert evaluations[updates // 2 - 1][2:] == at_ends[0][2:], "the end of an epoch is evaluated as ever"
    assert evaluations[-1] == at_ends[-1]


@pytest.mark.filterwarnings("ignore::accel.errors.AccelWarning")
@pytest.mark.parametrize("stop", [3, 5, 7, 9])
def test_a_resumed_run_evaluates_at_the_same_updates(stop: int, tmp_path: Path) -> None:
    plugins = lambda: [AdamW(), EMA()]  # noqa: E731
    settings = {"evaluate_every": 3, "evaluate_batches": 2, "checkpoint_best": "accuracy"}
    _, weights, evaluations, whole = fit("data set", plugins, epochs=1.6, **settings, out=tmp_path / "whole")
    ended = fit("data set", plugins, updates=stop, **settings, out=tmp_path / "run")[-1].history[-1]
    _, same, rest, result = fit("data set", plugins, epochs=1.6, **settings, resume=tmp_path / "run")
    assert all(torch.equal(weights[key], same[key]) for key in weights)
    assert rest == [one for one in evaluations if one[0] > stop]
    assert [row for row in result.history if row != ended or stop % 3 == 0] == whole.history
    assert (result.best.value, result.metrics) == (whole.best.value, whole.metrics)


class Queued(Task):
    """A task whose loss, by which it is evaluated too, moves buffers in both modes, and a weight if it is said to."""

    writes = False

    def model(self) -> nn.Module:
        net = Net()
        net.register_buffer("queue", torch.zeros(3))
        return net

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        training = model.training
        scores = model.train()(batch[0])  # as those detectors need that give their losses in training alone
        model.train(training)
        loss = nn.functional.cross_entropy(scores + model.queue, batch[1])
        model.queue = scores.detach().mean(0)
        if self.writes:
            model[0].bias.detach().mul_(0.999)
        return loss

    metrics = Trainer.metrics


@pytest.mark.filterwarnings("ignore::accel.errors.AccelWarning")
@pytest.mark.parametrize("plugins", [list, lambda: [EMA()], lambda: [Average(every=3)], lambda: [ScheduleFree()]])
def test_buffers_that_it_moves_are_put_back(plugins: Callable[[], list[Part]]) -> None:
    settings: dict[str, Any] = {"watch": (), "device": "cpu", "batch_size": 4, "epochs": 2}
    seldom = Queued("in memory", plugins=plugins(), **settings).fit().model.state_dict()
    often = Queued("in memory", plugins=plugins(), evaluate_every=1, **settings).fit().model.state_dict()
    assert all(torch.equal(seldom[key], often[key]) for key in seldom)
    assert seldom["queue"].any()


def test_a_weight_that_it_moves_is_told() -> None:
    task = Queued("in memory", watch=(), device="cpu", batch_size=4)
    task.writes = True
    with pytest.warns(AccelWarning, match=r"an evaluation has written to 0.bias, .* only if model.training"):
        task.fit()


def test_several_sets_are_named() -> None:
    net, data = nn.Linear(5, 3), TensorDataset(X, Y)

    def loss(model: nn.Module, batch: Any) -> Tensor:
        return nn.functional.cross_entropy(model(batch[0]), batch[1])

    settings: dict[str, Any] = {"loss": loss, "watch": (), "device": "cpu"}
    several = Trainer(net, data, {"val": TensorDataset(X[:9], Y[:9]), "test": data}, **settings).fit()
    assert list(several.metrics) == ["val/loss", "test/loss"]
    assert Trainer(several.model, data, data, updates=1, plugins=[], dry_run=True, **settings).fit().metrics == {}


class Splits(Task):
    evaluates = ("val", "test")


@pytest.mark.filterwarnings("ignore::accel.errors.AccelWarning")
def test_a_task_may_name_its_sets(tmp_path: Path) -> None:
    result = Splits(
        "in memory", watch=["metrics", "progress"], device="cpu", out=tmp_path, evaluate_every=1, checkpoint_best="test/accuracy"
    ).fit()
    assert result.best.metric == "test/accuracy"
    assert list(result.metrics) == ["val/accuracy", "test/accuracy"]
    assert '"val_accuracy": ' in (tmp_path / "metrics.jsonl").read_text()
    assert '"test_accuracy": ' in (tmp_path / "metrics.jsonl").read_text()
