"""The evaluation is tried before the first update, and leaves no trace."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from accel.engine.evaluation.evaluation_trial import BATCHES
from accel.errors import ConfigError
from accel.parts import Part
from accel.plugins import EMA, Accumulate, Threads, Workers
from accel.trainer import Trainer
from tests.support.kept_means import KeptMeans
from tests.support.own_loaders import own_loader

torch.manual_seed(5)
DATA = TensorDataset(torch.randn(40, 3), torch.randint(0, 2, (40,)))


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm, self.drop, self.layer = nn.BatchNorm1d(3), nn.Dropout(0.5), nn.Linear(3, 2)
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x: Tensor) -> Any:
        self.seen += 1
        return self.layer(self.drop(self.norm(x)))


def loss(model: nn.Module, batch: Any) -> Any:
    return nn.functional.cross_entropy(model(batch[0]), batch[1])


class Metrics:
    """Metrics that draw random numbers, and remember."""

    def __init__(self) -> None:
        self.calls, self.values = 0, list[Any]()

    def __call__(self, model: nn.Module, batch: Any) -> dict[str, Any]:
        self.calls += 1
        self.values.append(torch.rand(()))
        return {"accuracy": (model(batch[0]).argmax(1) == batch[1]).float().mean(), "calls": self.calls}


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        return iter(DATA)


HELD_OUT: dict[str, Callable[[], Any]] = {
    "data set": lambda: DATA, "ready batches": lambda: [DATA[:10], DATA[10:40]],
    "loader": lambda: DataLoader(DATA, 8, shuffle=True),
    "persistent workers": lambda: DataLoader(DATA, 8, shuffle=True, num_workers=1, persistent_workers=True),
    "stream": Stream, "small": lambda: TensorDataset(*DATA[:3]),
}  # fmt: skip


def fit(held_out: Any, plugins: list[Part], metrics: Any = None, **settings: Any) -> Any:
    torch.manual_seed(1)
    settings = {"epochs": 2, "batch_size": 8, "watch": (), "device": "cpu"} | settings
    return Trainer(Net(), DATA, held_out, loss=loss, metrics=metrics or Metrics(), plugins=plugins, **settings).fit()


@pytest.mark.parametrize("held_out", HELD_OUT)
def test_a_run_is_the_same_with_it_and_without(held_out: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with own_loader(HELD_OUT[held_out]) as data:
        tried = fit(data, [EMA(), Accumulate(steps=2)])
    monkeypatch.setattr("accel.trainer.try_evaluation", lambda *_: None)
    with own_loader(HELD_OUT[held_out]) as data:
        plain = fit(data, [EMA(), Accumulate(steps=2)])
    assert tried.history == plain.history
    assert all(map(torch.equal, tried.model.state_dict().values(), plain.model.state_dict().values()))


@pytest.mark.parametrize("plugins", [[], [Threads(count=2)], [Workers(count=1)]], ids=["plain", "threads", "workers"])
@pytest.mark.filterwarnings("ignore:(workers|threads) has no effect")
def test_a_few_batches_are_looked_at_before_any_update(plugins: list[Part]) -> None:
    calls = list[int]()

    def metrics(model: nn.Module, batch: Any) -> Any:
        calls.append(int(model.seen))
        raise KeyError("a bug in the metrics")

    with pytest.raises(KeyError, match="a bug"):
        fit(Rows(), plugins, metrics)
    assert calls[0] == 0
    assert len(calls) == 2, "before any update, and after one on trial"
    calls.clear()
    with pytest.raises(ZeroDivisionError):
        fit(Rows(), plugins, lambda model, batch: calls.append(1) or ({"loss": 1.0} if len(calls) <= BATCHES else 1 / 0))
    assert len(calls) == BATCHES + 1, "and after the first epoch again"


class Rows(torch.utils.data.Dataset[Any]):
    def __len__(self) -> int:
        return 40

    def __getitem__(self, index: int) -> Any:
        return DATA[index]


@pytest.mark.parametrize("dry", [True, False])
def test_a_mistyped_metric_is_told_before_anything_is_trained(dry: bool, tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"checkpoint.best=acuracy: the evaluation gives accuracy, calls; did you mean 'accuracy'\?"
    ):
        fit(DATA, [], checkpoint_best="acuracy", out=tmp_path / "run", dry_run=dry)
    assert not (tmp_path / "run").exists()
    fit(DATA, [], checkpoint_best="min:accuracy", out=tmp_path / "run", dry_run=dry)
    with pytest.raises(ConfigError, match=r"metrics\(model, batch\) returned a float"):
        fit(DATA, [], lambda model, batch: 0.5, dry_run=dry)


def test_a_dry_run_evaluates_no_more_than_that() -> None:
    metrics = Metrics()
    seen = list[int]()

    def counted(model: nn.Module, batch: Any) -> Any:
        seen.append(len(batch[0]))
        return metrics(model, batch)

    result = fit(DATA, [], counted, dry_run=True)
    assert (result.updates, seen, result.history) == (1, [8] * BATCHES, [])


def test_a_metric_that_only_some_evaluations_give(tmp_path: Path) -> None:
    calls = list[int]()

    def metrics(model: nn.Module, batch: Any) -> Any:
        calls.append(1)
        return {"accuracy": 0.5, "loss": 1.0} if len(calls) != 3 else {"loss": 1.0}

    result = fit([DATA[:40]], [], metrics, checkpoint_best="accuracy", out=tmp_path / "run", epochs=3)
    assert [sorted(row) for row in result.history] == [
        ["accuracy", "epoch", "loss"],
        ["epoch", "loss"],
        ["accuracy", "epoch", "loss"],
    ]
    assert result.best.epoch == 1


def test_a_model_that_needs_an_update_first_is_tried_after_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def train() -> Any:
        torch.manual_seed(1)
        return Trainer(
            KeptMeans(Net()), DATA, DATA, loss=loss, plugins=[EMA()], epochs=2, batch_size=8, watch=(), device="cpu"
        ).fit()

    tried = train()
    monkeypatch.setattr("accel.trainer.try_evaluation", lambda *_: None)
    plain = train()
    assert tried.history == plain.history
    assert all(map(torch.equal, tried.model.state_dict().values(), plain.model.state_dict().values()))
