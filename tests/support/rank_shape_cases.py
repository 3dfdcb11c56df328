"""What two ranks do for test_rank_shapes.py: runs of every length, stopped, grouped and averaged, as one process makes them."""

from __future__ import annotations

import os
import warnings
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
from accel.plugins.distill import Distill
from accel.plugins.early_stop import EarlyStop
from accel.plugins.ema import EMA
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


def master() -> nn.Module:
    """Return a teacher, which is the same on all ranks."""
    with torch.random.fork_rng():
        torch.manual_seed(4)
        return Net(follows=False)


SETS = {"easy": points(14), "hard": points(9)}
RULES = [{"match": "head.*", "lr": 0.1}, {"match": "*.bias", "lr_scale": 2.0}]
SHAPES: dict[str, tuple[Callable[[], list[Part]], dict[str, Any]]] = {
    "updates, sets, pairs": (list, {"updates": 5, "val": SETS, "evaluate_every": 3, "metrics": halves, "loss": logging}),
    "fraction, groups, plateau": (
        lambda: [AdamW(lr=0.01, groups=RULES), Plateau(factor=0.3, patience=0, threshold=0.9)],
        {"epochs": 1.5, "evaluate_every": 2},
    ),
    "layer_decay, early_stop, average": (
        lambda: [SGD(lr=0.1, layer_decay=0.5), EarlyStop(patience=1, min_delta=9.0), Average(last=2, every=2)],
        {"epochs": 5, "evaluate_every": 3},
    ),
    "distill": (
        lambda: [Distill(teacher=master(), anneal=True, temperature=2.0, dtype="float32"), AdamW(lr=0.01)],
        {"epochs": 3},
    ),
    "max_samples, average of all": (lambda: [AdamW(lr=0.01), Average(last=None, every=1, start=2.0)], {"max_samples": 31}),
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
    for who, make, step, asks in (("one", DDP, 2, SECOND), ("all", FSDP, 4, True)):  # within an epoch, and with its last update
        outcomes[who] = fit([make(), Asks(step, asks)], out=folder / who, epochs=3)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "resume=.*: the run has ended early")
            outcomes[f"{who} again"] = fit([make(), Asks(step, asks)], resume=folder / who, epochs=3)
    with mock.patch.object(RunLength, "seconds", lambda self, run: 9.0 if SECOND and run.progress.step >= 3 else 0.0):
        outcomes["seconds"] = fit([DDP()], max_seconds=9)
    outcomes["early"] = fit([FSDP(), EarlyStop(patience=1, min_delta=9.0)], epochs=4, out=folder / "early")
    outcomes["patient"] = fit([FSDP(), EarlyStop(patience=2, min_delta=9.0)], epochs=4, resume=folder / "early")
    outcomes["patient from the start"] = fit([FSDP(), EarlyStop(patience=2, min_delta=9.0)], epochs=4)
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

        def run(make: Callable[[], Part] = make, **settings: Any) -> Any:
            average = Average(last=2, every=3, batch_norm=2)
            return fit([make(), AdamW(lr=0.01), average], model=NormNet(), **{"evaluate_every": 2, **settings})

        outcomes[f"{name} whole"] = run()
        run(updates=5, out=folder / name)
        outcomes[f"{name} again"] = run(resume=folder / name)
        outcomes[f"{name} once"] = run(evaluate_every=None)
    return outcomes


def case_hints(folder: Path) -> dict[str, Any]:
    """A projection is trained by two ranks as by one, and is told to do without where its weights would be sharded."""

    def run(*plugins: Part, **settings: Any) -> Any:
        teacher = nn.Sequential(nn.Linear(6, 7), nn.Linear(7, 3))
        for number, param in enumerate(teacher.parameters()):
            nn.init.constant_(param, 0.1 * number)
        hinted = Distill(teacher=teacher, hints={"head": "0"}, hint_weight=3.0, dtype="float32")
        return fit([*plugins, hinted, AdamW(lr=0.01), EMA(decay=0.5)], **settings)

    outcomes = {"one": run(batch_size=6), "ddp": run(DDP())}
    run(DDP(), epochs=1, out=folder / "hints")
    outcomes["again"] = run(DDP(), resume=folder / "hints")
    try:
        run(FSDP())
    except ConfigError as error:
        outcomes["fsdp"] = str(error)
    return outcomes


def case_an_average_that_is_refused(folder: Path) -> list[str]:
    sentences = []
    for make in PARALLEL.values():
        try:
            fit([make(), Average(every=9)])
        except ConfigError as error:
            sentences.append(str(error))
    return sentences
