"""A scalar of NumPy is as good a setting as Python's own number: the run is the same, and so is what is written of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

import accel
from accel import Minimize, Trainer
from accel.errors import ConfigError
from accel.plugins import Accumulate, AdamW, Constant, EarlyStop, Optimizer, Scheduler
from accel.values import coerce, to_builtin, to_plain

NUMPY = {int: np.int64, float: np.float64, bool: np.bool_}


class Points(TensorDataset):
    def __init__(self, tokens: Any) -> None:
        torch.manual_seed(0)
        super().__init__(torch.randn(24, 4), torch.randint(0, 2, (24,)))
        self.tokens_per_sample = tokens


class Task(Trainer):
    def __init__(self, width: int, tokens: Any, **run: Any) -> None:
        super().__init__(**run)
        self.width, self.tokens = width, tokens

    def model(self) -> nn.Module:
        return nn.Sequential(nn.Linear(4, self.width), nn.Tanh(), nn.Linear(self.width, 2))

    def data(self, split: str) -> Any:
        return Points(self.tokens)

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        return nn.functional.cross_entropy(model(batch[0]), batch[1])

    def metrics(self, model: nn.Module, batch: Any) -> Any:
        return {"accuracy": (model(batch[0]).argmax(1) == batch[1]).float().mean()}

    def metadata(self) -> dict[str, Any]:
        return {"width": self.width}


def settings(of: Any, out: Path) -> dict[str, Any]:
    """Return settings of every kind, of which `of` makes each number."""
    groups = [{"match": "0.*", "lr": of(0.25), "weight_decay": of(0)}]
    return {
        "plugins": [AdamW(lr=of(0.125), groups=groups), Accumulate(of(2)), Constant(warmup=of(2)), EarlyStop("accuracy", of(9))],
        "epochs": of(1.5), "updates": of(5), "max_tokens": of(200), "batch_size": of(4), "seed": of(3), "evaluate_every": of(2),
        "drop_last": of(True), "freeze": [{"match": "2.bias", "until": of(2)}], "width": of(6), "tokens": of(3),
        "device": "cpu", "watch": (), "out": out,
    }  # fmt: skip


def test_a_run_by_them_is_the_same_run(tmp_path: Path) -> None:
    plain = Task(**settings(lambda number: number, tmp_path / "plain")).fit()
    same = Task(**settings(lambda number: NUMPY[type(number)](number), tmp_path / "numpy")).fit()
    assert all(torch.equal(a, b) for a, b in zip(plain.model.parameters(), same.model.parameters(), strict=True))
    assert plain.history == same.history
    tasks = [json.loads((tmp_path / name / "task.json").read_text()) for name in ("plain", "numpy")]
    assert tasks[0] == tasks[1]
    assert tasks[1]["arguments"] == {"width": 6, "tokens": 3}
    longer = settings(lambda number: number, tmp_path) | {"updates": 6, "epochs": 2, "resume": tmp_path / "numpy", "out": None}
    assert Task(**longer).fit().history[:-1] == same.history
    assert accel.load(tmp_path / "numpy", task=Task)[0].out_features == 6


def test_in_what_is_handed_on() -> None:
    assert type(Minimize("a", "*", len, every=np.int32(2)).every) is int  # type: ignore[arg-type]
    args = Optimizer(target="torch.optim.RAdam", args={"betas": (np.float32(0.5), 0.75)}).args
    assert args == {"betas": (0.5, 0.75)}
    assert type(args["betas"][0]) is float
    assert type(Scheduler(target="torch.optim.lr_scheduler.StepLR", args={"step_size": np.int64(2)}).args["step_size"]) is int
    assert to_plain({"lr": [np.float32(0.5), np.bool_(True)]}) == {"lr": [0.5, True]}
    assert type(to_builtin(np.longdouble(0.5))) is float
    given = [{"match": ["a"], "lr": 0.5}]
    assert coerce(given, list) is given, "what has none of them is not copied"
    assert AdamW(groups=({"match": ("a",), "lr": 0.5},)).groups == [{"match": ("a",), "lr": 0.5}]  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [np.int64(0), np.float64(2), np.bool_(True), np.array([2]), np.str_("2"), np.float64("nan")])
def test_what_does_not_fit_is_refused_as_ever(value: Any) -> None:
    with pytest.raises(ConfigError, match="updates must be a whole number from 1, or null, not "):
        Trainer(nn.Linear(1, 1), [torch.ones(1, 1)], updates=value)
