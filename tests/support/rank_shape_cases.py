"""What two ranks do for test_rank_shapes.py: runs of every length, stopped, grouped and averaged, as one process makes them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

from accel import Trainer
from accel.engine.length.run_length import RunLength
from accel.errors import ConfigError
from accel.parts import Part, Run, Watch
from accel.plugins.adamw import AdamW
from accel.plugins.average import Average
from accel.plugins.ddp import DDP
from accel.plugins.early_stop import EarlyStop
from accel.plugins.fsdp import FSDP
from accel.plugins.plateau import Plateau
from accel.plugins.sgd import SGD
from tests.support.rank_evaluation_cases import Net, loss, points

SECOND = os.environ.get("RANK") == "1"
PARALLEL: dict[str, Callable[[], Part]] = {"ddp": DDP, "fsdp": FSDP}


def halves(model: nn.Module, batch: Any) -> dict[str, Any]:
    """Return a mean, and a recall that is right over the whole set only."""
    hits = (model(batch[0]).argmax(1) == batch[1]) & (batch[1] > 0)
    return {"loss": loss(model, batch), "recall": (hits.sum(), (batch[1] > 0).sum())}


def logging(model: nn.Module, batch: Any) -> Any:
    return loss(model, batch), {"twice": 2 * loss(model, batch).detach()}


SHAPES: dict[str, tuple[Callable[[], list[Part]], dict[str, Any]]] = {
    "updates": (list, {"updates": 5}),
    "a fraction": (list, {"epochs": 1.5}),
    "max_samples": (list, {"max_samples": 19}),
    "several sets": (list, {"val": {"easy": points(14), "hard": points(9)}, "evaluate_every": 3, "evaluate_epochs": 1}),
    "pairs": (list, {"metrics": halves}),
    "logged": (list, {"loss": logging}),
    "groups": (
        lambda: [
            AdamW(lr=0.01, groups=[{"match": "head.*", "lr": 0.1}, {"match": "*.bias", "lr_scale": 2.0, "weight_decay": 0.0}])
        ],
        {},
    ),
    "layer_decay": (lambda: [SGD(lr=0.1, layer_decay=0.5)], {}),
    "plateau": (lambda: [SGD(lr=0.1), Plateau(factor=0.3, patience=0, threshold=0.9)], {"evaluate_every": 2}),
    "early_stop": (lambda: [EarlyStop(patience=1, min_delta=9.0)], {"epochs": 5, "evaluate_every": 3}),
    "average": (lambda: [AdamW(lr=0.01), Average(last=2, every=3)], {}),
    "average of all": (lambda: [AdamW(lr=0.01), Average(last=None, start=0.3)], {"epochs": 3}),
}


def fit(plugins: list[Part], batch_size: int = 3, **run: Any) -> dict[str, Any]:
    """What a run came to: weights on the first rank, which has them whole."""
    torch.manual_seed(1)
    settings = {"epochs": 2, "loss": loss, "watch": (), "device": "cpu", "val": points(14), "model": Net(follows=False)} | run
    result = Trainer(data=points(24), plugins=plugins, batch_size=batch_size, **settings).fit()
    state = {} if SECOND else {name: value.clone() for name, value in result.model.state_dict().items()}
    facts = {name: getattr(result, name) for name in ("updates", "samples", "stopped", "history")}
    return {**facts, "state": state}


def case_shapes(folder: Path) -> dict[str, Any]:
    outcomes: dict[str, Any] = {}
    for name, (plugins, settings) in SHAPES.items():
        outcomes[f"one {name}"] = fit(plugins(), 6, **settings)
        for parallel, make in PARALLEL.items():
            outcomes[f"{parallel} {name}"] = fit([make(), *plugins()], **settings)
    return outcomes


class Asks(Watch):
    """Asks for the end of the run after an update, on one rank or on all."""

    def __init__(self, step: int, asks: bool) -> None:
        super().__init__()
        self.step, self.asks = step, asks

    def begin(self, run: Run) -> None:
        self.run = run

    def after(self, step: int, loss: Tensor) -> None:
        if step == self.step and self.asks:
            self.run.stop(f"enough on rank {int(SECOND)}")


def case_ends(folder: Path) -> dict[str, Any]:
    outcomes: dict[str, Any] = {}
    for name, make in PARALLEL.items():
        for who, asks in (("one", SECOND), ("all", True)):
            for step in (2, 4):  # within an epoch, and with its last update
                out = folder / f"{name} {who} {step}"
                outcomes[out.name] = fit([make(), Asks(step, asks)], out=out, epochs=3)
                outcomes[f"{out.name} again"] = fit([make(), Asks(step, asks)], resume=out, epochs=3)
        over = mock.patch.object(RunLength, "seconds", lambda self, run: 9.0 if SECOND and run.progress.step >= 3 else 0.0)
        with over:
            outcomes[f"{name} seconds"] = fit([make()], max_seconds=9, out=folder / f"{name} seconds")
        out = folder / f"{name} early"
        outcomes[f"{name} early"] = fit([make(), EarlyStop(patience=1, min_delta=9.0)], epochs=4, out=out)
        outcomes[f"{name} patient"] = fit([make(), EarlyStop(patience=2, min_delta=9.0)], epochs=4, resume=out)
        outcomes[f"{name} patient from the start"] = fit([make(), EarlyStop(patience=2, min_delta=9.0)], epochs=4)
    return outcomes


class NormNet(Net):
    """A net with BatchNorm."""

    def __init__(self) -> None:
        super().__init__(follows=False)
        self.norm = nn.BatchNorm1d(6)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.blocks(self.norm(x)))
        return out


def case_averages_with_batch_norm(folder: Path) -> dict[str, Any]:
    outcomes: dict[str, Any] = {}
    for name, make in PARALLEL.items():

        def run(*more: Part, name: str = name, make: Callable[[], Part] = make, **settings: Any) -> Any:
            average = Average(last=2, every=3, batch_norm=2)
            return fit([make(), AdamW(lr=0.01), average, *more], model=NormNet(), evaluate_every=2, **settings)

        outcomes[f"{name} whole"] = run()
        outcomes[f"{name} plain"] = fit([make(), AdamW(lr=0.01)], model=NormNet())
        run(updates=5, out=folder / name)
        outcomes[f"{name} again"] = run(resume=folder / name)
        outcomes[f"{name} watched"] = run(Asks(8, False), evaluate_epochs=1)
    return outcomes


def case_an_average_that_is_refused(folder: Path) -> list[str]:
    sentences = []
    for make in PARALLEL.values():
        try:
            fit([make(), Average(every=9)])
        except ConfigError as error:
            sentences.append(str(error))
    return sentences
