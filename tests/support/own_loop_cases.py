"""What two ranks do in loops of their own for test_own_loop_ranks.py; the cases run with those of `tests.support.ddp_cases`."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from accel.errors import ConfigError, Interrupted
from accel.parts import Part
from accel.pieces import OwnLoop
from accel.plugins.accumulate import Accumulate
from accel.plugins.adamw import AdamW
from accel.plugins.amp import AMP
from accel.plugins.clip import Clip
from accel.plugins.cosine import Cosine
from accel.plugins.ddp import DDP
from accel.plugins.ema import EMA
from accel.plugins.fsdp import FSDP
from tests.support.drill_length import LONG
from tests.support.points_trainer import RANK, Keeps, Points, Stop
from tests.support.short_farewell import short_farewell

SETS: dict[str, Callable[[], list[Part]]] = {
    "ddp": lambda: [DDP()],
    "windows": lambda: [DDP(), Accumulate(steps=3), AdamW(lr=0.01)],
    "all": lambda: [DDP(), Accumulate(steps=3), AMP(force=True), Clip(max_norm=0.1), EMA(decay=0.9), AdamW(), Cosine()],
    "float16": lambda: [DDP(), AMP(dtype="float16", force=True)],
    "fsdp": lambda: [FSDP(), Accumulate(steps=3), Clip(max_norm=0.1), EMA(decay=0.9), AdamW()],
}
TRIED = SETS if LONG else {name: SETS[name] for name in ("all", "fsdp")}
"""Of these sets; each of the others has plugins of the first."""


@cache
def whole() -> dict[str, Any]:
    """What the run of `fit` with all of them comes to."""
    return fitted(SETS["all"]())


class Normed(Points):
    """Its running statistics are those of the first rank, and its last parameter is left out of the loss."""

    def model(self) -> nn.Module:
        return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))


class Unused(Points):
    def model(self) -> nn.Module:
        model = super().model()
        model.register_parameter("spare", nn.Parameter(torch.ones(3)))
        return model


def trainer(plugins: list[Part], keeps: Keeps, kind: type[Points], **settings: Any) -> Points:
    given = {"epochs": 2, "samples": 23, "batch_size": 3, **settings}
    return kind(plugins=[*plugins, keeps], watch=(), seed=5, device="cpu", **given)


def fitted(plugins: list[Part], kind: type[Points] = Points, **settings: Any) -> dict[str, Any]:
    """What a run of `fit` comes to."""
    keeps = Keeps()
    result = trainer(plugins, keeps, kind, **settings).fit()
    return outcome(keeps, result)


def looped(
    plugins: list[Part], kind: type[Points] = Points, after: Callable[[OwnLoop], object] = lambda run: None, **settings: Any
) -> dict[str, Any]:
    """What a loop of one's own comes to; `after` is called behind each update, and ends it by returning False."""
    keeps = Keeps()
    with OwnLoop(trainer(plugins, keeps, kind, **settings)) as run:
        for window in run:
            for batch in window:
                with run.cast():
                    loss = nn.functional.cross_entropy(run.model(batch[0]), batch[1])
                run.backward(loss)
            run.step()
            if after(run) is False:
                break
    return outcome(keeps, run.result)


def outcome(keeps: Keeps, result: Any) -> dict[str, Any]:
    state = result.model.state_dict()
    weights = {} if any(type(value) is not torch.Tensor for value in state.values()) else state  # a share of another rank's
    return {"losses": keeps.losses, "metrics": result.metrics, "stopped": result.stopped, "weights": weights}


def same(one: dict[str, Any], other: dict[str, Any], since: int = 0) -> bool:
    """Whether losses, metrics and weights are those of the other run, to the bit."""
    weights = zip(one["weights"].values(), other["weights"].values(), strict=True)
    equal = one["losses"][since:] == other["losses"] and one["metrics"] == other["metrics"]
    return equal and all(torch.equal(a, b) for a, b in weights)


def case_own_loop_equals_fit(folder: Path) -> dict[str, bool]:
    actual = {name: same(fitted(plugins()), looped(plugins())) for name, plugins in TRIED.items()}
    return actual | {"buffers": same(fitted([DDP()], Normed), looped([DDP()], Normed))}


def case_own_loop_evaluates(folder: Path) -> bool:
    """Every rank evaluates by itself, and the run is the same."""

    def evaluate(run: OwnLoop) -> None:
        with run.weights() as model, torch.no_grad():
            model(torch.ones(2, 6))

    return same(whole(), looped(SETS["all"](), after=evaluate))


def case_own_loop_stops(folder: Path) -> tuple[int, str]:
    """One rank ends the run."""
    run = looped([DDP()], after=lambda run: run.stop("enough") if RANK == 1 and run.updates == 1 else None)
    return len(run["losses"]), run["stopped"]


def case_own_loop_refusals(folder: Path) -> dict[str, str]:
    def refused(*args: Any, **more: Any) -> str:
        try:
            looped(*args, **more)
        except ConfigError as error:
            return str(error)
        return ""

    with short_farewell():  # the first rank waits for one that has left its loop
        one = refused([DDP()], after=lambda run: RANK == 0 or run.updates < 1)
    return {
        "break": refused([DDP()], after=lambda run: run.updates < 2),
        "break of one": one,
        "unused": refused([DDP()], Unused),
    }


def case_own_loop_goes_on(folder: Path) -> dict[str, Any]:
    """A run that a crash, or a signal to one rank, has ended goes on where it was."""

    def crash(run: OwnLoop) -> None:
        if run.updates == 2:
            raise Stop

    def strike(run: OwnLoop) -> None:
        if run.updates == 1 and RANK == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    actual: dict[str, Any] = {}
    for name, after in (("crash", crash), ("signal", strike)):
        out = folder / name
        try:
            looped(SETS["all"](), after=after, out=out, checkpoint_every=1)
        except (Stop, Interrupted) as end:
            actual[f"{name} ended by"] = type(end).__name__
        rest = looped(SETS["all"](), resume=out)
        actual[name] = same(whole(), rest, since=len(whole()["losses"]) - len(rest["losses"]))
    return actual
