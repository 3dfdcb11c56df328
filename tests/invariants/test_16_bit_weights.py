"""Weights of 16 bits: moved by every optimiser as a plain loop moves them, averaged in float32, their norms taken in float32."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from accel import Trainer
from accel.errors import AccelWarning
from accel.optim import LAMB as OwnLAMB
from accel.parts import Grads, Part
from accel.plugins.adamw import AdamW
from accel.plugins.amp import AMP
from accel.plugins.clip import Clip
from accel.plugins.ema import EMA
from accel.plugins.finite_guard import FiniteGuard
from accel.plugins.lamb import LAMB
from accel.plugins.lars import LARS
from accel.plugins.master_weights import MasterWeights
from accel.plugins.muon import Muon
from accel.plugins.schedule_free import ScheduleFree
from accel.plugins.sgd import SGD
from accel.plugins.step_in_backward import StepInBackward

SHORT = [torch.bfloat16, torch.float16]
MOVERS: dict[str, Callable[[], list[Part]]] = {
    "default": list,
    "sgd": lambda: [SGD(lr=0.1)],
    "sgd, nesterov": lambda: [SGD(lr=0.1, nesterov=True, weight_decay=0.1)],
    "sgd, no momentum": lambda: [SGD(lr=0.5, momentum=0.0)],
    "amp": lambda: [AMP()],
    "step_in_backward": lambda: [StepInBackward(), SGD(lr=0.1)],
    "finite_guard": lambda: [FiniteGuard(), SGD(lr=0.1)],
    "clip": lambda: [Clip(max_norm=0.5), SGD(lr=0.1)],
    "adamw": lambda: [AdamW(lr=0.01)],
    "lars": lambda: [LARS(lr=1.0, trust_coefficient=0.02, exclude="none")],
    "lars, nesterov": lambda: [LARS(lr=0.5, trust_coefficient=0.02, exclude="none", nesterov=True)],
    "lamb": lambda: [LAMB(lr=0.02)],
    "muon": lambda: [Muon(lr=0.02, adamw_lr=0.01)],
    "schedule_free": lambda: [ScheduleFree(lr=0.02)],
}
THAT_COMPUTE_BY_FOREACH: dict[str, Callable[[list[Tensor]], torch.optim.Optimizer]] = {
    "default": lambda params: torch.optim.SGD(params, lr=0.01, momentum=0.9, foreach=True),
    "sgd": lambda params: torch.optim.SGD(params, lr=0.1, momentum=0.9, foreach=True),
    "sgd, nesterov": lambda params: torch.optim.SGD(params, 0.1, 0.9, weight_decay=0.1, nesterov=True, foreach=True),
    "sgd, no momentum": lambda params: torch.optim.SGD(params, lr=0.5, foreach=True),
    "step_in_backward": lambda params: torch.optim.SGD(params, lr=0.1, momentum=0.9, foreach=True),
    "finite_guard": lambda params: torch.optim.SGD(params, lr=0.1, momentum=0.9, foreach=True),
}


def net(dtype: torch.dtype) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, 33), nn.ReLU(), nn.Linear(33, 4)).to(dtype)


def batches(dtype: torch.dtype, count: int = 12) -> list[Any]:
    torch.manual_seed(1)
    return [(torch.randn(16, 64).to(dtype), torch.randint(0, 4, (16,))) for _ in range(count)]


def loss(model: nn.Module, batch: Any) -> Tensor:
    return cross_entropy(model(batch[0]).float(), batch[1])


def fit(plugins: list[Part], dtype: torch.dtype, model: nn.Module | None = None, **settings: Any) -> nn.Module:
    data = batches(torch.float32 if any(isinstance(part, AMP | MasterWeights) for part in plugins) else dtype)
    trainer = Trainer(net(dtype) if model is None else model, data, loss=loss, plugins=plugins, watch=(), **settings)
    if any(isinstance(part, MasterWeights) for part in plugins) or dtype not in SHORT:
        return trainer.fit().model
    with pytest.warns(AccelWarning, match=r"trains weights of 16 bits \(.*add the plugin master_weights") as warnings:
        result = trainer.fit()
    assert len(warnings) == 1
    return result.model


@pytest.mark.parametrize("dtype", SHORT)
@pytest.mark.parametrize("name", MOVERS)
def test_every_optimiser_trains_them(name: str, dtype: torch.dtype) -> None:
    before, model = net(dtype), fit(MOVERS[name](), dtype)
    moved = [(a != b).float().mean() for a, b in zip(before.parameters(), model.parameters(), strict=True)]
    assert min(moved) > 0.3
    before_loss, after_loss = (sum(float(loss(each, batch).detach()) for batch in batches(dtype)) for each in (before, model))
    assert after_loss < before_loss
    if name in THAT_COMPUTE_BY_FOREACH:
        twin = net(dtype)
        optim = THAT_COMPUTE_BY_FOREACH[name](list(twin.parameters()))
        for batch in batches(dtype):
            optim.zero_grad()
            loss(twin, batch).backward()
            optim.step()
        assert all(map(torch.equal, model.parameters(), twin.parameters()))


@pytest.mark.parametrize("dtype", SHORT)
def test_the_plan_names_the_weights_that_no_fused_kernel_moves(dtype: torch.dtype) -> None:
    for plugins, weights in (([], dtype), ([SGD()], dtype), ([SGD()], torch.float32), ([LAMB()], dtype)):
        optim = Trainer(net(weights), batches(weights), loss=loss, plugins=plugins, watch=())
        note: list[str] = []

        class Look(EMA):
            def setup(self, run: Any, note: list[str] = note) -> None:
                super().setup(run)
                note.append(run.parts.optim.plan_notes()["optimizer"])

        optim.plugins = [*plugins, Look()]
        if weights == torch.float32:
            optim.fit()
        else:
            with pytest.warns(AccelWarning):
                optim.fit()
        kind = str(dtype).removeprefix("torch.")
        plain = weights in SHORT and "LAMB" not in note[0]
        assert (f"; {kind} weights by plain operations" in note[0]) == plain


def test_only_trained_ones_without_masters_are_warned_of() -> None:
    frozen = net(torch.bfloat16)
    frozen[0].requires_grad_(False)
    frozen[2].float()
    frozen.forward = lambda x: frozen[2](frozen[1](frozen[0](x.bfloat16())).float())  # type: ignore[method-assign]
    Trainer(frozen, batches(torch.float32), loss=loss, watch=()).fit()
    fit([MasterWeights()], torch.bfloat16)
    fit([], torch.float32)


@pytest.mark.parametrize("dtype", SHORT)
def test_an_average_of_them_moves_as_one_of_float32(dtype: torch.dtype, tmp_path: Any) -> None:
    model = nn.Linear(1, 1, bias=False).to(dtype)
    nn.init.ones_(model.weight)
    wanted, weight = 1.0, model.weight.detach().clone()
    for _ in range(300):
        weight -= torch.full_like(weight, 2.0**-6)
        wanted = 0.999 * wanted + 0.001 * float(weight)

    data = [torch.ones(1, 1, dtype=dtype)] * 300
    trainer = Trainer(
        model, data, loss=lambda m, x: m(x).float().mean(), plugins=[SGD(lr=2.0**-6, momentum=0.0), EMA(decay=0.999, warmup=False)],
        watch=(), out=tmp_path,
    )  # fmt: skip
    with pytest.warns(AccelWarning):
        result = trainer.fit()
    state = torch.load(sorted(tmp_path.glob("checkpoints/*.pt"))[-1], weights_only=True)
    average = state["parts"]["ema"]["average"]["weight"]
    assert average.dtype == torch.float32
    assert abs(float(average) - wanted) < 1e-4
    assert result.model.weight.dtype == dtype, "it is handed out as the model is, rounded once"
    assert torch.equal(result.model.weight.detach(), average.to(dtype))


def test_an_average_saved_in_16_bits_goes_on_in_float32() -> None:
    class Run:
        class parts:
            class precision:
                params = [("w", nn.Parameter(torch.ones(3, dtype=torch.bfloat16)))]

    ema = EMA()
    ema.setup(Run())  # type: ignore[arg-type]
    ema.load_state_dict({"step": 3, "average": {"w": torch.full((3,), 0.5, dtype=torch.bfloat16)}})
    ema.update(Grads([]))
    assert ema.averages[0].dtype == torch.float32
    assert torch.equal(ema.averages[0], torch.lerp(torch.full((3,), 0.5), torch.ones(3), 1 - ema.decay_at(3)))


@pytest.mark.parametrize("base", ["adamw", "sgd"])
def test_schedule_frees_average_of_them_is_float32s_and_is_resumed(base: Any) -> None:
    from accel.optim import ScheduleFree as Own

    def steps(optim: Own, param: nn.Parameter, count: int) -> None:
        for step in range(count):
            param.grad = torch.cos(torch.arange(40.0) + step).to(param.dtype)
            optim.step()

    params = [nn.Parameter(torch.ones(40, dtype=dtype)) for dtype in (torch.bfloat16, torch.float32)]
    optims = [Own([param], lr=0.001, base=base) for param in params]
    for optim, param in zip(optims, params, strict=True):
        steps(optim, param, 100)
    averages = []
    for optim, param in zip(optims, params, strict=True):
        before = param.detach().clone()
        with optim.averaged():
            averages.append(param.detach().clone())
        assert torch.equal(param, before)
    torch.testing.assert_close(averages[0], averages[1].bfloat16(), rtol=0, atol=0.008)
    assert {name: value.dtype for name, value in optims[0].state[params[0]].items()}["z"] == torch.float32
    twin = nn.Parameter(params[0].detach().clone())
    other = Own([twin], lr=0.001, base=base)
    other.load_state_dict(deepcopy(optims[0].state_dict()))
    for optim, param in ((optims[0], params[0]), (other, twin)):
        steps(optim, param, 20)
    assert torch.equal(params[0], twin)
    assert torch.equal(optims[0].state[params[0]]["z"], other.state[twin]["z"])


LONG = 200_000
"""Finite numbers of float16 whose norm is 178,885: more than float16 can hold."""


def long_grads(dtype: torch.dtype = torch.float16) -> list[Tensor]:
    params = [nn.Parameter(torch.zeros(LONG, dtype=dtype)), nn.Parameter(torch.zeros(3, dtype=torch.float32))]
    for param in params:
        param.grad = torch.full_like(param, 400.0)
    return list(params)


@pytest.mark.parametrize("order", [1, -1])
def test_the_norm_of_float16_gradients_is_taken_in_float32(order: int) -> None:
    params = long_grads()[::order]
    wanted = 400.0 * (LONG + 3) ** 0.5
    grads = Grads(params)
    assert grads.norm().dtype == torch.float32
    assert float(grads.norm()) == pytest.approx(wanted, rel=1e-5)
    grads.need_found_inf()
    assert grads.found_inf == 0
    clip = Clip(max_norm=100.0)
    assert float(clip.limit(Grads(params)).norm()) == pytest.approx(100.0, rel=1e-4)
    optim = OwnLAMB(params, max_grad_norm=1.0)
    optim.step()
    assert float(optim.norm) == pytest.approx(wanted, rel=1e-5)


def test_finite_gradients_of_float16_with_a_long_norm_move_the_weights() -> None:
    model = nn.Module()
    model.weight = nn.Parameter(torch.zeros(LONG, dtype=torch.float16))
    trainer = Trainer(
        model, [torch.ones(1)] * 2, loss=lambda m, x: (m.weight * 400).sum(dtype=torch.float32), watch=(),
        plugins=[FiniteGuard(), SGD(lr=0.001, momentum=0.0)],
    )  # fmt: skip
    with pytest.warns(AccelWarning):
        result = trainer.fit()
    assert result.skipped == 0
    assert float(model.weight.detach().float().mean()) == pytest.approx(-0.8, abs=0.01)
