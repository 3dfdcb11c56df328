from __future__ import annotations

import random
from dataclasses import dataclass
from itertools import product
from math import inf, nan
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from accel import Trainer
from accel.parts import Precision
from accel.plugins.accumulate import Accumulate
from accel.plugins.clip import Clip
from accel.plugins.ema import EMA
from accel.plugins.finite_guard import FiniteGuard
from accel.testing import ToyResult, fit_toy
from tests.support.drill_length import LONG
from tests.support.spoilt_updates import BESIDE, OPTIMISERS

pytestmark = pytest.mark.filterwarnings("ignore:ema averages the weights that are trained")  # beside schedule_free


BAD = [3, 6]


@dataclass(eq=False)
class Spoils(Precision):
    """Makes one number in one gradient of the updates `BAD` not finite; the loss is as it was."""

    number: float = nan
    seed: int = 0

    def gradients(self) -> Any:
        self.updates = getattr(self, "updates", 0) + 1
        grads = super().gradients()
        if self.updates in BAD:
            rng = random.Random(self.seed + self.updates)
            grad: Any = rng.choice(grads.params).grad
            grad.view(-1)[rng.randrange(grad.numel())] = self.number
        return grads


def stays(outcome: ToyResult, bad: list[int]) -> None:
    """Nothing moved in the updates `bad`, and everything is finite and went on in the others."""
    states = outcome.spy.states
    for i in range(1, len(states)):
        same = [torch.equal(a, b) for a, b in zip(states[i - 1], states[i], strict=True)]
        assert all(same) if i + 1 in bad else not all(same), f"update {i + 1}"
    assert all(torch.isfinite(tensor).all() for tensor in states[-1])
    assert int(outcome.spy.run.parts.guard.skipped) == len(bad)  # type: ignore[arg-type]


@pytest.mark.parametrize("optim", OPTIMISERS)
@pytest.mark.parametrize("beside", BESIDE)
def test_a_loss_that_is_infinite_moves_nothing(optim: str, beside: str) -> None:
    micros = 2 if beside == "accumulate" else 1
    outcome = fit_toy(
        [FiniteGuard(), OPTIMISERS[optim](), EMA(), *BESIDE[beside]()], overflow=[micros * update for update in BAD], epochs=3
    )
    stays(outcome, BAD)


@pytest.mark.parametrize("number", [nan, inf, -inf])
@pytest.mark.parametrize("optim", OPTIMISERS)
def test_one_number_in_one_gradient_is_enough(optim: str, number: float) -> None:
    stays(fit_toy([FiniteGuard(), Spoils(number=number), OPTIMISERS[optim](), EMA(), Clip(mode="value")]), BAD)


@pytest.mark.filterwarnings("ignore:data is a list")
def test_a_loss_that_is_missing_counts_although_its_gradients_are_finite() -> None:
    def loss(model: nn.Module, x: Tensor) -> Tensor:
        return model(x).mean() + torch.where(x[0, 0] == 7, nan, 0.0)

    def weights(*values: float) -> list[Tensor]:
        torch.manual_seed(0)
        batches = [torch.full((2, 2), value) for value in values]
        result = Trainer(nn.Linear(2, 1), batches, loss=loss, plugins=[FiniteGuard()], watch=()).fit()
        assert result.skipped == values.count(7)
        return list(result.model.parameters())

    assert all(torch.equal(a, b) for a, b in zip(weights(1.0, 7.0, -1.0), weights(1.0, -1.0), strict=True))


@pytest.mark.parametrize("optim", OPTIMISERS)
@pytest.mark.parametrize("beside", [[], [EMA], [Clip], [lambda: Clip(mode="value", max_value=0.01)], [lambda: Accumulate(steps=2)]])
def test_a_run_that_stays_finite_keeps_its_bits(optim: str, beside: list[Any]) -> None:
    make = OPTIMISERS[optim]
    with_it, without = fit_toy([FiniteGuard(), make(), *(one() for one in beside)]), fit_toy([make(), *(one() for one in beside)])
    if optim == "muon":  # takes its step in another order of roundings where it may have to be skipped
        assert with_it.distance(without) < 1e-6
    else:
        assert with_it.equals(without)


class Norms(Trainer):
    """A net with BatchNorm, and one batch with a NaN in it."""

    def __init__(self, bad: bool, **run: Any) -> None:
        super().__init__(watch=(), **run)
        self.bad = bad

    def model(self) -> nn.Module:
        net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
        net.register_buffer("spread", torch.ones(1).expand(3), persistent=False)
        net.register_buffer("empty", torch.ones(0))
        return net

    def data(self, split: str) -> Any:
        if split != "train":
            return None
        batches = list(torch.randn(5, 4, 3, generator=torch.Generator().manual_seed(0)).unbind())
        spoilt = batches[2].clone()
        spoilt[0, 0] = nan
        return [*batches[:2], spoilt, *batches[2:]] if self.bad else batches

    def loss(self, model: nn.Module, x: Tensor) -> Tensor:
        return model(x).square().mean()


@pytest.mark.filterwarnings("ignore:the run ended with weights that are not finite")
def test_batch_norms_statistics_stay_too() -> None:
    actual = Norms(True, plugins=[FiniteGuard()]).fit().model.state_dict()
    without = Norms(False).fit().model.state_dict()
    assert "1.running_mean" in actual
    assert all(torch.equal(actual[name], without[name]) for name in without)
    assert int(actual["1.num_batches_tracked"]) == 5
    spoilt = Norms(True).fit().model.state_dict()
    assert not torch.isfinite(spoilt["1.running_mean"]).any(), "which nothing else would have kept"


def test_a_buffer_that_is_assigned_anew_stays_too() -> None:
    class Seen(nn.Linear):
        def __init__(self) -> None:
            super().__init__(2, 1)
            self.register_buffer("total", torch.zeros(2))
            self.register_buffer("last", torch.zeros(2, 2))

        def forward(self, x: Tensor) -> Tensor:
            self.total, self.last = self.total + x.sum(0), x
            return super().forward(x)

    def buffers(*values: float) -> tuple[Tensor, Tensor, list[Tensor]]:
        torch.manual_seed(0)
        batches = [torch.full((2, 2), value) for value in values]
        net: Any = Seen()
        Trainer(net, batches, loss=lambda model, x: model(x).mean(), plugins=[FiniteGuard()], watch=()).fit()
        return net.total, net.last, batches

    total, last, batches = buffers(1.0, nan, 3.0, nan)
    assert total.tolist() == [8.0, 8.0]
    assert torch.equal(last, batches[2])
    assert torch.isnan(batches[3]).all(), "the data is not written to"


@pytest.mark.skipif(not LONG, reason="a part of the long drills: ACCEL_DRILL=long")
@pytest.mark.parametrize("optim", OPTIMISERS)
def test_one_number_anywhere_in_any_gradient(optim: str) -> None:
    besides = [make for name, make in BESIDE.items() if name not in ("float16", "masters")]  # these have gradients of their own
    for beside, number, seed in product(besides, (nan, inf, -inf), range(3)):
        plugins = [FiniteGuard(), Spoils(number=number, seed=seed), OPTIMISERS[optim](), EMA(), *beside()]
        stays(fit_toy(plugins, epochs=3), BAD)
