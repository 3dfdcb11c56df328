"""Schedules are pure functions of the update's index, equal torch's, and end at their floor exactly."""

from __future__ import annotations

import warnings
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch.optim.lr_scheduler import CosineAnnealingLR, CyclicLR, LinearLR, OneCycleLR

from accel.errors import ConfigError
from accel.parts import Optim, Rate, Schedule
from accel.plugins.accumulate import Accumulate
from accel.plugins.adamw import AdamW
from accel.plugins.cosine import Cosine
from accel.plugins.cyclic import Cyclic
from accel.plugins.onecycle import OneCycle
from accel.plugins.sgd import SGD
from accel.testing import fit_toy


def ready(schedule: Any, updates: int, optim: Optim | None = None) -> Any:
    optim = optim or SGD(lr=0.3)
    run: Any = SimpleNamespace(unwrapped_model=torch.nn.Linear(1, 1), device=torch.device("cpu"), updates=updates)
    run.parts = SimpleNamespace(
        optim=optim, rate=Rate(), precision=SimpleNamespace(parameters=lambda model: list(model.named_parameters()))
    )
    optim.setup(run)
    schedule.setup(run)
    return schedule


def torchs(make: Any, updates: int, base: float = 0.3) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=base, momentum=0.9)
    scheduler, rates = make(optimizer), []
    for _ in range(updates):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if len(rates) < updates:
                scheduler.step()
    return rates


shapes = st.tuples(st.integers(1, 40), st.integers(1, 9), st.integers(1, 6))  # batches, window, epochs


@settings(max_examples=120)
@given(shapes, st.floats(0.0, 0.95), st.sampled_from(["cos", "linear"]), st.floats(1.5, 100.0), st.floats(1.0, 1e5))
def test_onecycle_is_torchs(shape: tuple[int, int, int], pct: float, anneal: Any, div: float, final: float) -> None:
    batches, window, epochs = shape
    total = -(-batches // window) * epochs
    actual = ready(OneCycle(max_lr=0.5, pct_start=pct, anneal=anneal, div_factor=div, final_div_factor=final), total)
    rates = [actual.lr(step) for step in range(total)]
    assert rates[-1] == 0.5 / div / final, "it ends at its floor exactly"
    assume(total > 1 and abs(pct * total - 1) > 1e-9)  # torch divides by zero there
    strategy = {"cos": "cos", "linear": "linear"}[anneal]
    expected = torchs(
        lambda optimizer: OneCycleLR(
            optimizer, 0.5, total_steps=total, pct_start=pct, anneal_strategy=strategy, div_factor=div, final_div_factor=final,
            cycle_momentum=False,
        ), total,
    )  # fmt: skip
    assert rates == pytest.approx(expected, rel=1e-12, abs=1e-12)


@settings(max_examples=100)
@given(shapes, st.integers(0, 30), st.floats(0.0, 1.0))
def test_cosine_is_torchs(shape: tuple[int, int, int], warmup: int, floor: float) -> None:
    batches, window, epochs = shape
    total = -(-batches // window) * epochs
    assume(warmup < total - 1)
    actual = ready(Cosine(warmup=float(warmup) if warmup else 0.0, floor=floor), total)
    rates = [actual.lr(step) for step in range(total)]
    assert rates[-1] == 0.3 * floor, "it ends at its floor exactly"
    climb = torchs(lambda optimizer: LinearLR(optimizer, 1 / (warmup + 1), total_iters=warmup), warmup) if warmup else []
    fall = torchs(lambda optimizer: CosineAnnealingLR(optimizer, total - 1 - warmup, eta_min=0.3 * floor), total - warmup)
    assert rates == pytest.approx(climb + fall, rel=1e-12, abs=1e-12)


@settings(max_examples=120)
@given(
    st.integers(1, 60), st.one_of(st.none(), st.integers(1, 60)), st.sampled_from(["triangular", "triangular2", "exp_range"]),
    st.floats(1.0, 100.0), st.floats(0.5, 1.0), st.booleans(),
)  # fmt: skip
@pytest.mark.slow
def test_cyclic_is_torchs(up: int, down: int | None, mode: Any, div: float, gamma: float, adam: bool) -> None:
    settings: dict[str, Any] = {"cycle_momentum": True, "base_momentum": 0.75, "max_momentum": 0.95}
    optim = AdamW(lr=0.3) if adam else SGD(lr=0.3)
    actual = ready(Cyclic(mode=mode, div_factor=div, step_size=up, step_size_down=down, gamma=gamma, **settings), 200, optim)
    param = [torch.nn.Parameter(torch.zeros(1))]
    optimizer = torch.optim.AdamW(param) if adam else torch.optim.SGD(param, momentum=0.9)
    scheduler = CyclicLR(optimizer, 0.3 / div, 0.3, up, down, mode, gamma, **settings)
    for step in range(200):
        actual.apply(step)
        for mine, theirs in zip(actual.optim.optimizer.param_groups, optimizer.param_groups, strict=True):
            assert mine["lr"] == pytest.approx(theirs["lr"], rel=1e-12, abs=1e-12)
            names = ("betas",) if adam else ("momentum",)
            assert [mine[name] for name in names] == [pytest.approx(theirs[name], abs=1e-12) for name in names]
        optimizer.step()
        scheduler.step()


@given(st.integers(1, 3000), st.floats(0.0, 0.99))
@settings(max_examples=200)
def test_every_rate_is_finite_and_positive(total: int, pct: float) -> None:
    actual = ready(OneCycle(pct_start=pct), total)
    for step in {0, 1, total // 3, total // 2, total - 2, total - 1} & set(range(total)):
        assert 0 < actual.lr(step) <= 0.3


def test_a_climb_of_one_update_peaks_at_once() -> None:
    actual = ready(OneCycle(max_lr=0.5, pct_start=0.1), 10)  # torch divides by zero here
    assert [actual.lr(0), actual.lr(9)] == [0.5, 0.5 / 25 / 1e4]
    assert actual.lr(0) > actual.lr(1) > actual.lr(8) > actual.lr(9)


def test_onecycle_cycles_momentum_as_torch_does_only_when_asked() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1, momentum=0.9)
    scheduler = OneCycleLR(optimizer, 0.5, total_steps=20, base_momentum=0.8, max_momentum=0.95)
    actual = ready(OneCycle(max_lr=0.5, cycle_momentum=True, base_momentum=0.8), 20)
    for step in range(20):
        actual.apply(step)
        group = actual.optim.optimizer.param_groups[0]
        assert group["momentum"] == pytest.approx(optimizer.param_groups[0]["momentum"], abs=1e-12)
        optimizer.step()
        if step < 19:
            scheduler.step()


@pytest.mark.parametrize("schedule", [OneCycle(), Cosine(), Cyclic()])
@pytest.mark.parametrize("optim", [SGD(momentum=0.7), AdamW(beta1=0.8, beta2=0.95)])
def test_betas_and_momentum_are_left_alone(schedule: Schedule, optim: Optim) -> None:
    group = fit_toy([schedule, optim]).spy.run.parts.optim.optimizer.param_groups[0]
    assert group.get("momentum", 0.7) == 0.7
    assert group.get("betas", (0.8, 0.95)) == (0.8, 0.95)


def test_the_total_counts_updates_not_micro_batches() -> None:
    run = fit_toy([Accumulate(steps=4), OneCycle(max_lr=1.0)], epochs=5).spy.run
    assert run.updates == run.progress.step == 10
    assert run.parts.optim.optimizer.param_groups[0]["lr"] == run.parts.schedule.lr(9) == 1.0 / 25 / 1e4


def test_groups_keep_their_ratio() -> None:
    class Two(SGD):
        def build(self, params, device):  # type: ignore[no-untyped-def]
            (_, weight), (_, bias) = params
            return torch.optim.SGD([{"params": [weight]}, {"params": [bias], "lr": 2 * self.lr}], lr=self.lr)

    actual = ready(OneCycle(max_lr=0.5), 10, Two(lr=0.3))
    actual.apply(2)
    low, high = (group["lr"] for group in actual.optim.optimizer.param_groups)
    assert high == pytest.approx(2 * low)


def test_too_long_a_warmup_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"cosine.warmup is 50 updates and the whole run 12"):
        fit_toy([Cosine(warmup=50.0)])
