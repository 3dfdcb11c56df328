"""What two ranks do for test_fsdp.py; see `tests.ranks`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from accel.errors import ConfigError
from accel.parts import Part
from accel.plugins.accumulate import Accumulate
from accel.plugins.adamw import AdamW
from accel.plugins.amp import AMP
from accel.plugins.clip import Clip
from accel.plugins.ema import EMA
from accel.plugins.finite_guard import FiniteGuard
from accel.plugins.fsdp import FSDP
from accel.plugins.lamb import LAMB
from accel.plugins.lars import LARS
from accel.plugins.muon import Muon
from accel.plugins.recompute import Recompute
from accel.plugins.schedule_free import ScheduleFree
from accel.plugins.sgd import SGD
from tests.plugins.ddp_cases import Words, distance
from tests.points import Keeps, Points
from tests.turns import turns


class Blocks(Points):
    """Two blocks, which FSDP gathers one after the other, and weights that are tied."""

    def model(self) -> nn.Module:
        first = nn.Linear(6, 16)
        return nn.Sequential(first, *(Block() for _ in range(2)), nn.Linear(16, 3)).to(self.dtype)


class Block(nn.Module):
    """y = x + W2 gelu(W1 norm(x)). A norm of one row, so that the second rank's share of it is empty."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(16), nn.Linear(16, 33), nn.Linear(33, 16)
        self.gain = nn.Parameter(torch.ones(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.gain * self.down(nn.functional.gelu(self.up(self.norm(x))))


def fit(plugins: list[Part], kind: type[Points] = Points, batch_size: int = 3, epochs: int = 2, **settings: Any) -> dict[str, Any]:
    """What a run came to, with the weights that are handed out: whole on the first rank."""
    keeps = Keeps(stop=0)
    trainer = kind(plugins=[*plugins, keeps], watch=(), batch_size=batch_size, epochs=epochs, seed=5, device="cpu", **settings)
    result = trainer.fit()
    weights = [param.detach().clone() for param in result.model.parameters()]
    return {"weights": weights, "losses": keeps.losses, "metrics": result.metrics, "skipped": result.skipped}


SETS: dict[str, Callable[[], list[Part]]] = {
    "sgd": lambda: [SGD(lr=0.1)],
    "adamw, clip": lambda: [AdamW(lr=0.01), Clip(max_norm=0.1)],
    "adamw, clip by value": lambda: [AdamW(lr=0.01), Clip(mode="value", max_value=0.01)],
    "sgd, clip adaptive": lambda: [SGD(lr=0.1), Clip(mode="adaptive")],
    "lamb, ema": lambda: [LAMB(lr=0.01), EMA(decay=0.9)],
    "lars": lambda: [LARS(lr=0.1)],
    "schedule_free": lambda: [ScheduleFree(lr=0.01)],
    "adamw, finite_guard, recompute": lambda: [AdamW(lr=0.01), FiniteGuard(), Recompute()],
}


def case_one_process_on_the_big_batch(folder: Path) -> dict[str, float]:
    found = {}
    for name, make in SETS.items():
        for steps in (1, 3):
            for kind in (Blocks,) if "recompute" in name else (Blocks, Words):
                more = [Accumulate(steps=steps) for _ in range(2)] if steps > 1 else []
                ours = fit([FSDP(), *make(), *more[:1]], kind, samples=22)
                big = fit([*make(), *more[1:]], kind, batch_size=6, samples=22)
                found[f"{name} accumulate={steps} {kind.__name__}"] = whole(ours, big)
    return found


def case_goes_on_to_the_same_bits(folder: Path) -> dict[str, Any]:
    """Saved after one epoch and taken up by two ranks, with the whole weights of each of three ways to get there."""

    def plugins() -> list[Part]:
        return [FSDP(), AdamW(lr=0.01), EMA(), Accumulate(steps=2)]

    fit(plugins(), Blocks, epochs=1, out=folder / "run", checkpoint_every=2)
    two = fit(plugins(), Blocks, epochs=2, out=folder / "two")
    again = fit(plugins(), Blocks, epochs=2, resume=folder / "run", out=folder / "again")
    pieces = sorted(file.name for file in (folder / "run").rglob("shard-*"))
    ours = {"pieces": pieces, "again": again["losses"], "two": two["losses"][-len(again["losses"]) :]}
    if not any(hasattr(weight, "full_tensor") for weight in two["weights"]):
        ours["same"] = all(map(torch.equal, two["weights"], again["weights"]))
        ours["weights"] = two["weights"]
    return ours


def case_two_one_two(folder: Path) -> list[Any]:
    alone = {"with": lambda: [FSDP(), AdamW(lr=0.01), EMA()], "without": lambda: [AdamW(lr=0.01), EMA()]}
    return turns(folder, lambda: [FSDP(), AdamW(lr=0.01), EMA()], alone, Blocks)


def whole(ours: dict[str, Any], big: dict[str, Any]) -> float:
    """How far they are apart; the weights are whole on the first rank alone."""
    if any(hasattr(weight, "full_tensor") for weight in ours["weights"]):
        ours = {**ours, "weights": big["weights"]}
    return distance(ours, big)


class Poisoned(Blocks):
    """The loss of the second rank is not finite in one update."""

    def loss(self, model: nn.Module, batch: Any) -> Any:
        loss = super().loss(model, batch)
        wrong = bool((batch[0] == self.data("train").tensors[0][7]).all(1).any())
        return loss * float("nan") if wrong else loss


class Buffered(Blocks):
    """Its BatchNorm follows the samples of its own rank, and is evaluated as the first rank has it."""

    def model(self) -> nn.Module:
        return nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.Linear(16, 3))


class Tied(Points):
    """Its first and last weights are one."""

    def model(self) -> nn.Module:
        first, last = nn.Linear(6, 6, bias=False), nn.Linear(6, 6, bias=False)
        last.weight = first.weight
        return nn.Sequential(first, nn.Tanh(), last)


class Mixed(Points):
    """Weights of two dtypes."""

    def model(self) -> nn.Module:
        model = super().model()
        model[1].double()
        return model


def case_a_skipped_update_is_skipped_by_all(folder: Path) -> dict[str, Any]:
    found = fit([FSDP(), SGD(lr=0.1), FiniteGuard(), EMA()], Poisoned)
    return {"losses": found["losses"], "skipped": found["skipped"]}


def case_overflows_of_float16(folder: Path) -> dict[str, Any]:
    def scaled() -> list[Part]:
        return [SGD(lr=0.1), AMP(dtype="float16", force=True, init_scale=2.0**20, growth_interval=3), EMA()]

    ours, big = fit([FSDP(), *scaled()], Blocks), fit(scaled(), Blocks, batch_size=6)
    return {"skipped": [one["skipped"] for one in (ours, big)], "apart": whole(ours, big)}


def case_bfloat16(folder: Path) -> dict[str, Any]:
    big = fit([SGD(lr=0.1), AMP()], Blocks, batch_size=6)
    found = {
        "amp": [FSDP(), SGD(lr=0.1), AMP()],
        "param_dtype": [FSDP(param_dtype="bfloat16", reduce_dtype="float32"), SGD(lr=0.1)],
    }
    return {name: whole(fit(plugins, Blocks), big) for name, plugins in found.items()}


def case_buffers_are_those_of_the_first_rank(folder: Path) -> Any:
    found = fit([FSDP(), SGD(lr=0.1)], Buffered)
    return found["metrics"]


def case_tied_weights_stay_tied(folder: Path) -> Any:
    settings: dict[str, Any] = {"watch": (), "epochs": 2, "seed": 5, "device": "cpu"}
    model = Tied(plugins=[FSDP(), SGD(lr=0.1)], batch_size=3, **settings).fit().model
    big = Tied(plugins=[SGD(lr=0.1)], batch_size=6, **settings).fit().model
    whole = not hasattr(model[0].weight, "full_tensor")  # type: ignore[index]
    apart = float((model[0].weight - big[0].weight).detach().abs().max()) if whole else None  # type: ignore[index, operator]
    return whole, model[0].weight is model[2].weight, apart  # type: ignore[index]


def case_refused(folder: Path) -> list[str]:
    said = []
    for plugins, kind in (([Muon()], Blocks), ([], Mixed)):
        try:
            fit([FSDP(), *plugins], kind)
        except ConfigError as error:
            said.append(str(error))
    return said
