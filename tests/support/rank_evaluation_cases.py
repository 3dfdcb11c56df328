"""What two ranks do in evaluations, for test_rank_evaluation.py: on trial, of unequal lengths, and the best of several."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from accel import Trainer
from accel.errors import ConfigError, TrainingError
from accel.parts import Part
from accel.plugins.accumulate import Accumulate
from accel.plugins.ddp import DDP
from accel.plugins.ema import EMA
from accel.plugins.fsdp import FSDP
from accel.plugins.prefetch import Prefetch
from tests.support.drill_length import LONG
from tests.support.macro_f1 import MacroF1, MergedF1

SECOND = os.environ.get("RANK") == "1"
PARALLEL: dict[str, Callable[[], Part]] = {"ddp": DDP, "fsdp": FSDP}


def points(samples: int) -> TensorDataset:
    x = torch.randn(samples, 6, generator=torch.Generator().manual_seed(0))
    return TensorDataset(x, x.argmax(1) % 3)


class Block(nn.Module):
    """A layer, before or in which an evaluation fails as long as `fails` says so."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.fails = nn.Linear(6, 6), lambda: False

    def forward(self, x: Tensor) -> Tensor:
        if not self.training and self.fails():
            raise KeyError("not yet")
        return x + torch.relu(self.layer(x))


class Net(nn.Module):
    """Blocks that fsdp gathers each for itself, and a mean of what its rank has seen in training, if it `follows`."""

    def __init__(self, follows: bool = True) -> None:
        super().__init__()
        self.follows = follows
        self.blocks, self.head = nn.Sequential(Block(), Block(), Block()), nn.Linear(6, 3)
        self.register_buffer("mean", torch.zeros(6))
        self.updates = 0

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.updates += 1
            self.mean += 0.1 * self.follows * (x.detach().mean(0) - self.mean)
        out: Tensor = self.head(self.blocks(x - self.mean))
        return out


def loss(model: nn.Module, batch: Any) -> Tensor:
    return nn.functional.cross_entropy(model(batch[0]), batch[1])


def fit(*plugins: Part, block: int | None = None, until: int = 1, who: str = "both", **run: Any) -> Any:
    """What a run came to: its sentence, or its history and weights. A block fails in evaluations before update `until`."""
    torch.manual_seed(1)
    model = run.pop("model", None) or Net()
    if block is not None and (who == "both" or SECOND):
        model.blocks[block].fails = lambda: model.updates < until
    settings = {"epochs": 2, "batch_size": 3, "watch": (), "device": "cpu", "val": points(14)} | run
    try:
        result = Trainer(model, settings.pop("data", points(24)), loss=loss, plugins=plugins, **settings).fit()
    except (ConfigError, TrainingError, KeyError) as error:
        return f"{type(error).__name__}: {error}"
    return result.history, [value.clone() for value in result.model.state_dict().values()] if not SECOND else None


def case_evaluations_that_need_an_update(folder: Path) -> dict[str, Any]:
    outcomes: dict[str, Any] = {}
    for name, make in PARALLEL.items():
        for who in ("both", "second"):
            for block in (0, 2) if LONG else (2 * ((name, who) in (("ddp", "second"), ("fsdp", "both"))),):
                outcomes[f"{name} {who} {block}"] = fit(make(), EMA(), block=block, who=who)
            outcomes[f"{name} {who} never"] = fit(make(), block=1, until=99, who=who)
        with mock.patch("accel.trainer.try_evaluation"):
            outcomes[f"{name} without"] = fit(make(), EMA())
    return outcomes


class Stream(IterableDataset[Any]):
    """Points whose number nobody knows before they are read, or about which `says` lies."""

    def __init__(self, samples: int) -> None:
        self.samples = samples

    def __iter__(self) -> Iterator[Any]:
        return iter(list(points(64))[: self.samples])


class Sized(Stream):
    """A stream that says how long it is, wrongly."""

    def __len__(self) -> int:
        return 24


class Ready:
    """Ready batches of three."""

    def __init__(self, samples: int) -> None:
        self.samples = samples

    def __iter__(self) -> Iterator[Any]:
        return iter([points(64)[start : start + 3] for start in range(0, self.samples, 3)])


def case_unequal_lengths(folder: Path) -> dict[str, Any]:
    outcomes: dict[str, Any] = {}
    for name, make in PARALLEL.items():
        for short in (18, 20) if LONG else (18 if name == "ddp" else 20,):
            count = 24 if SECOND else short
            outcomes[f"{name} stream {short}"] = fit(make(), data=Stream(count))
            outcomes[f"{name} evaluated stream {short}"] = fit(make(), val=Stream(count))
        outcomes[f"{name} sized"] = fit(make(), Prefetch(), data=Sized(18 if SECOND else 24))
        outcomes[f"{name} ready"] = fit(make(), Accumulate(steps=2), data=Ready(24 if SECOND else 36), batch_size=None, val=None)
        outcomes[f"{name} loader"] = fit(make(), data=DataLoader(Stream(24 if SECOND else 18), 3), batch_size=None)
        outcomes[f"{name} evaluated loader"] = fit(make(), val=DataLoader(Stream(24 if SECOND else 18), 3))
        outcomes[f"{name} equal"] = fit(make(), Prefetch(), data=Stream(23), val=Ready(11))
    return outcomes


def case_metrics(folder: Path) -> dict[str, Any]:
    def other(model: nn.Module, batch: Any) -> dict[str, Tensor]:
        return {"b" if SECOND else "a": loss(model, batch)}

    def more(model: nn.Module, batch: Any) -> dict[str, Tensor]:
        return dict.fromkeys(["a", "b"][: 1 + SECOND], loss(model, batch))

    def twice(model: nn.Module, batch: Any) -> dict[str, Tensor]:
        return {"a": loss(model, batch) + (loss(model, batch) if SECOND else 0)}

    def order(model: nn.Module, batch: Any) -> dict[str, Tensor]:
        return {name: loss(model, batch) * len(name) for name in (["bb", "a"] if SECOND else ["a", "bb"])}

    outcomes: dict[str, Any] = {}
    for name, make in PARALLEL.items():
        outcomes |= {f"{name} {metrics.__name__}": fit(make(), metrics=metrics) for metrics in (other, more, twice, order)}
    return outcomes


class Objects(Trainer):
    """Evaluates F1 by objects that ranks combine, and one that they cannot."""

    def __init__(self, metric: MacroF1, differs: bool, *args: Any, **run: Any) -> None:
        super().__init__(*args, **run)
        self.metric, self.differs = metric, differs

    def metrics(self, model: nn.Module, batch: Any) -> dict[str, Any]:
        self.metric.update(model(batch[0]).argmax(1), batch[1])
        return {"f1": self.metric, "pair": (batch[1].sum(), len(batch[1]))}

    def evaluated(self, metrics: dict[str, float]) -> dict[str, float]:  # type: ignore[override]
        return {"more": float(self.differs and SECOND)}


def case_metric_objects(folder: Path) -> dict[str, Any]:
    outcomes: dict[str, Any] = {}
    for name, make in PARALLEL.items():
        for kind, metric, differs in (("f1", MergedF1(3), False), ("alone", MacroF1(3), False), ("more", MergedF1(3), True)):
            torch.manual_seed(1)
            data = points(24), points(13)  # an uneven end
            task = Objects(metric, differs, Net(False), *data, loss, plugins=[make()], batch_size=3, watch=(), device="cpu")
            try:
                result = task.fit()
            except ConfigError as error:
                outcomes[f"{name} {kind}"] = str(error)
                continue
            whole = MacroF1(3)
            if not SECOND:
                whole.update(result.model.eval()(data[1].tensors[0]).argmax(1), data[1].tensors[1])
            outcomes[f"{name} {kind}"] = result.metrics, whole.compute(), float(data[1].tensors[1].float().mean())
    return outcomes


def best_run(out: Path, *plugins: Part, ranks: int = 2, **run: Any) -> Any:
    """The best of a run by the loss that is largest, which is that of the first epoch."""
    settings = {"epochs": 3, "batch_size": 6 // ranks, "watch": (), "device": "cpu", "checkpoint_best": "max:loss"} | run
    torch.manual_seed(1)
    trainer = Trainer(Net(follows=False), points(24), points(14), loss=loss, plugins=plugins, out=out, **settings)
    result = trainer.fit()
    return result.best and (result.best.value, result.best.epoch, str(result.best.file), result.best.checkpoint)


BEST = list(product(PARALLEL, (False, True))) if LONG else [("ddp", False), ("fsdp", True)]
"""Who joins the ranks, and whether the weights are averaged; in the long drills all of them."""


def case_best(folder: Path) -> dict[str, Any]:
    outcomes: dict[str, Any] = {}
    for name, averaged in BEST:
        make, out = PARALLEL[name], folder / f"{name}-{averaged}"
        plugins = [EMA(decay=0.6)] * averaged
        outcomes[out.name] = best_run(out, make(), *plugins)
        if not SECOND:
            (out / "best.safetensors").rename(out / "first.safetensors")
        best_run(out, make(), *plugins, epochs=4, resume=out)  # which writes it anew
    return outcomes
