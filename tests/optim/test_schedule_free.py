"""Schedule-Free AdamW and SGD against their definition in float64, and against what may happen between two steps."""

from __future__ import annotations

import copy
import pickle
from contextlib import suppress
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from accel.optim import ScheduleFree, tiles
from accel.testing import HostReads
from tests.support.fused_optimizers import saved_and_loaded

SETTINGS: list[dict[str, Any]] = [
    {}, {"weight_decay": 0.3}, {"warmup": 5}, {"warmup": 5, "weight_decay": 0.3, "exclude": "norm_and_bias"}, {"r": 2.0},
    {"weight_lr_power": 0.0, "warmup": 50}, {"betas": (0.5, 0.9), "eps": 1e-3}, {"betas": (0.98, 0.99)},
]  # fmt: skip
BASES = ["adamw", "sgd"]
LIMIT = 3e-6


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that what is large is cut, and what is small shares a tile."""
    monkeypatch.setattr(tiles, "CPU_TILE", 512)


def start(dtype: torch.dtype = torch.float32) -> list[Any]:
    rng = torch.Generator().manual_seed(0)
    weights = [torch.randn(shape, generator=rng) for shape in [(64, 32), (20, 7), (128,), (), (3, 2, 3, 3)]]
    weights[4] = weights[4].contiguous(memory_format=torch.channels_last)
    return [nn.Parameter(weight.to(dtype)) for weight in [*weights, torch.randn(40, 30, generator=rng).t()]]


def gradients(steps: int = 20) -> list[list[Tensor]]:
    rng = torch.Generator().manual_seed(1)
    return [[0.3 * torch.randn(weight.shape, generator=rng) for weight in start()] for _ in range(steps)]


def train(optim: Any, params: list[Any], steps: list[list[Tensor]]) -> None:
    for grads in steps:
        for param, grad in zip(params, grads, strict=True):
            param.grad = grad.to(param.dtype)
        optim.step()


def reference(
    weights: list[Tensor], steps: list[list[Tensor]], lr: list[float], betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
    weight_decay: float = 0.0, warmup: int = 0, base: str = "adamw", r: float = 0.0, weight_lr_power: float = 2.0,
    exclude: str = "none",
) -> tuple[list[Tensor], list[Tensor]]:  # fmt: skip
    """Algorithm 1 of the paper in float64, with x written out: y and x after all steps, one learning rate for each."""
    x = [weight.detach().double() for weight in weights]
    z, v = [weight.clone() for weight in x], [torch.zeros_like(weight) for weight in x]
    y, total, highest = [weight.clone() for weight in x], 0.0, 0.0
    for t, (grads, rate) in enumerate(zip(steps, lr, strict=True), start=1):
        rate *= min(1.0, t / warmup) if warmup else 1.0
        highest = max(highest, rate)
        weight = t**r * highest**weight_lr_power
        total += weight
        c = weight / total
        for i, grad in enumerate(grads):
            u = grad.double()
            if base == "adamw":
                v[i] = betas[1] * v[i] + (1 - betas[1]) * u**2
                u = u / ((v[i] / (1 - betas[1] ** t)).sqrt() + eps)
            if exclude == "none" or y[i].dim() > 1:
                u = u + weight_decay * y[i]
            z[i] = z[i] - rate * u
            x[i] = (1 - c) * x[i] + c * z[i]
            y[i] = (1 - betas[0]) * z[i] + betas[0] * x[i]
    return y, x


def distance(params: list[Any], wanted: list[Tensor]) -> float:
    return max(float((a - b).detach().abs().max()) for a, b in zip(params, wanted, strict=True))


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_is_what_the_definition_says(base: Any, settings: dict[str, Any], dtype: torch.dtype) -> None:
    params, steps = start(dtype), gradients()
    optim = ScheduleFree(params, lr=0.01, base=base, **settings)
    rates = [0.01 + 0.001 * min(i, 10) - 0.0005 * max(0, i - 10) for i in range(len(steps))]  # up, and down again
    for grads, rate in zip(steps, rates, strict=True):
        optim.param_groups[0]["lr"] = rate
        train(optim, params, [grads])
    y, x = reference(start(), steps, rates, base=base, **settings)
    assert distance(params, y) < LIMIT
    with optim.averaged():
        assert distance(params, x) < LIMIT
    assert distance(x, y) > 1e-4, "they are not the same"


@pytest.mark.parametrize("base", BASES)
def test_the_average_is_given_and_taken_back_bit_for_bit(base: Any) -> None:
    params = start()
    optim = ScheduleFree(params, base=base)
    with optim.averaged():  # before the first step all three points are one
        assert all(map(torch.equal, params, start()))
    train(optim, params, gradients(3))
    before = [param.detach().clone() for param in params]
    with suppress(ZeroDivisionError), optim.averaged():
        assert not any(map(torch.equal, params, before))
        raise ZeroDivisionError
    assert all(map(torch.equal, params, before))


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("after", [0, 2])
def test_a_skipped_step_moves_nothing_and_reads_nothing(base: Any, after: int) -> None:
    actual = []
    for skips in (False, True):
        params, steps = start(), gradients()
        optim = ScheduleFree(params, base=base, warmup=6, weight_decay=0.1, r=1.0)
        optim.found_inf = torch.zeros(())
        train(optim, params, steps[:after])
        if skips:
            before = [param.detach().clone() for param in params]
            states = [value.clone() for state in optim.state.values() for value in state.values()]
            optim.found_inf, optim.grad_scale = torch.ones(()), torch.tensor(2.0)
            with HostReads() as reads:  # type: ignore[no-untyped-call]
                for bad in (torch.inf, torch.nan):
                    train(optim, params, [[torch.full_like(grad, bad) for grad in steps[0]]])
            assert reads.count == 0
            assert all(map(torch.equal, params, before))
            moved = [value for state in optim.state.values() for value in state.values()]
            assert all(map(torch.equal, moved, states)) if after else all(not state["step"].any() for state in optim.state.values())
            optim.found_inf, optim.grad_scale = torch.zeros(()), None
        train(optim, params, steps[after:])
        actual.append(params)
    assert all(map(torch.equal, *actual))


@pytest.mark.parametrize("base", BASES)
def test_what_scales_changes_no_bit_and_gradients_stay(base: Any) -> None:
    actual = []
    for scale in (1.0, 1024.0):
        params, steps = start(), [[grad * scale for grad in grads] for grads in gradients()]
        optim = ScheduleFree(params, base=base)
        optim.grad_scale = torch.tensor(scale)
        train(optim, params, steps)
        assert all(torch.equal(param.grad, grad) for param, grad in zip(params, steps[-1], strict=True))
        actual.append(params)
    assert all(map(torch.equal, *actual))


@pytest.mark.parametrize("base", BASES)
def test_goes_on_from_its_saved_state_with_the_same_bits(base: Any) -> None:
    params, steps = start(), gradients()
    optim = ScheduleFree(params, base=base, warmup=8)
    train(optim, params, steps[:5])
    other, others = saved_and_loaded(optim, params, partial(ScheduleFree, base=base, warmup=8))
    actual = []
    for each, mine in (
        (optim, params),
        (other, others),
        pickle.loads(pickle.dumps((optim, params))),
        copy.deepcopy((optim, params)),
    ):
        train(each, mine, steps[5:])
        with each.averaged():
            averages = [param.detach().clone() for param in mine]
        actual.append([*mine, *averages])
    assert all(all(map(torch.equal, actual[0], other)) for other in actual[1:])


def test_what_has_no_gradient_stays() -> None:
    params, steps = start(), gradients(6)
    optim = ScheduleFree(params)
    for number, grads in enumerate(steps):
        for place, (param, grad) in enumerate(zip(params, grads, strict=True)):
            param.grad = grad if place % 2 == 0 or number == 3 else None
        before = params[1].detach().clone()
        optim.step()
        assert torch.equal(params[1], before) == (number != 3)
    y, _ = reference(start()[::2], [grads[::2] for grads in steps], [0.0025] * 6)
    assert distance(params[::2], y) < LIMIT


def test_weights_in_bfloat16_keep_their_counters() -> None:
    params = start(torch.bfloat16)
    optim = ScheduleFree(params)
    train(optim, params, gradients() * 20)
    optim.load_state_dict(optim.state_dict())
    for state in optim.state.values():
        assert torch.equal(state["step"], torch.tensor([400.0, 0.0025, 400.0]))


def test_a_learning_rate_of_zero_divides_by_nothing() -> None:
    params = start()
    optim = ScheduleFree(params, lr=0.0)
    train(optim, params, gradients(2))
    assert all(map(torch.equal, params, start()))
    optim.param_groups[0]["lr"] = 0.01
    train(optim, params, gradients(2))
    assert all(torch.isfinite(param).all() for param in params)


def test_a_beta_of_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="the first of betas must lie between 0 and 1, not be 0"):
        ScheduleFree(start(), betas=(0.0, 0.9))
