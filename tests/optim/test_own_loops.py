"""The optimisers in a loop of one's own, as torch's suite of optimisers treats them."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from accel.optim import LAMB, LARS, Muon, ScheduleFree
from accel.optim.adamw import FusedAdamW
from accel.optim.sgd import FusedSGD

Make = Callable[..., Any]
KINDS: dict[str, Make] = {
    "sgd": lambda params, **more: FusedSGD(params, **({"lr": 0.05, "momentum": 0.9} | more)),
    "adamw": lambda params, **more: FusedAdamW(params, **({"lr": 0.05} | more)),
    "lamb": lambda params, **more: LAMB(params, **({"lr": 0.05} | more)),
    "lars": lambda params, **more: LARS(params, **({"lr": 0.5, "trust_coefficient": 0.05} | more)),
    "muon": lambda params, **more: Muon(params, **({"lr": 0.05, "adamw_lr": 0.05, "rest": "adamw", "ns_dtype": "float32"} | more)),
    "schedule_free": lambda params, **more: ScheduleFree(params, **({"lr": 0.05} | more)),
    "schedule_free sgd": lambda params, **more: ScheduleFree(params, **({"lr": 0.5, "base": "sgd"} | more)),
}
both = pytest.mark.parametrize("kind", KINDS)


def net(dtype: torch.dtype = torch.float32) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 4), nn.Linear(4, 1)).to(dtype)


def value(model: nn.Module, step: int = 0) -> Tensor:
    x = torch.randn(8, 6, generator=torch.Generator().manual_seed(step), dtype=next(model.parameters()).dtype)
    return (model(x) - x.sum(1, keepdim=True)).square().mean()


def train(model: nn.Module, optim: Any, steps: int = 4, first: int = 0) -> None:
    for step in range(first, first + steps):
        optim.zero_grad()
        value(model, step).backward()  # type: ignore[no-untyped-call]
        optim.step()


def same(one: nn.Module, other: nn.Module) -> bool:
    return all(map(torch.equal, one.parameters(), other.parameters()))


@both
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_it_lowers_the_loss_and_a_state_dict_goes_on(kind: str, dtype: torch.dtype) -> None:
    model = net(dtype)
    optim = KINDS[kind](model.parameters())
    before = float(sum(value(model, step).detach() for step in range(5)))
    train(model, optim, 20)
    assert float(sum(value(model, step).detach() for step in range(5))) < before
    twin = net(dtype)
    twin.load_state_dict(model.state_dict())
    other = KINDS[kind](twin.parameters())
    other.load_state_dict(deepcopy(optim.state_dict()))
    for each, its in ((model, optim), (twin, other)):
        train(each, its, first=20)
    assert same(model, twin)
    assert optim.state_dict()["param_groups"] == other.state_dict()["param_groups"]


@both
@pytest.mark.parametrize("copied", [deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))], ids=["deepcopy", "pickle"])
def test_a_copy_goes_on_and_takes_another_group(kind: str, copied: Any) -> None:
    model = net()
    optim = KINDS[kind](model.parameters())
    train(model, optim)
    twin, other = copied((model, optim))
    for each, its in ((model, optim), (twin, other)):
        train(each, its)
        torch.manual_seed(1)
        each.append(nn.Linear(1, 1))
        its.add_param_group({"params": list(each[-1].parameters())})
        train(each, its)
    assert same(model, twin)


@both
def test_groups_closures_and_rates_that_are_tensors(kind: str) -> None:
    models = []
    for as_tensor in (False, True):
        models.append(model := net())
        optim = KINDS[kind](model[0].parameters())
        optim.add_param_group({"params": [*model[2].parameters(), *model[3].parameters()]})
        for group in optim.param_groups:
            group["lr"] = torch.tensor(0.02) if as_tensor else 0.02
        schedule = torch.optim.lr_scheduler.StepLR(optim, 2, 0.5)

        def closure(model: nn.Module = model, optim: Any = optim) -> Tensor:
            optim.zero_grad()
            loss = value(model)
            loss.backward()  # type: ignore[no-untyped-call]
            return loss

        losses = []
        for _ in range(4):
            losses.append(float(optim.step(closure).detach()))
            schedule.step()
        assert losses[-1] < losses[0]
    for one, other in zip(models[0].parameters(), models[1].parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


@both
def test_without_gradients_nothing_moves_and_some_may_lack_one(kind: str) -> None:
    model = net()
    before = deepcopy(model)
    optim = KINDS[kind](model.parameters())
    optim.step()
    assert same(model, before)
    for step in range(3):
        optim.zero_grad()
        value(model, step).backward()  # type: ignore[no-untyped-call]
        model[2].weight.grad = None
        optim.step()
    assert torch.equal(model[2].weight, before[2].weight)
    assert not torch.equal(model[0].weight, before[0].weight)
    train(model, optim)
    assert not torch.equal(model[2].weight, before[2].weight)


@both
def test_an_empty_group_and_empty_parameters(kind: str) -> None:
    model = net()
    optim = KINDS[kind]([{"params": []}, {"params": list(model.parameters())}, {"params": [nn.Parameter(torch.ones(0, 3))]}])
    train(model, optim)
    optim.param_groups[-1]["params"][0].grad = torch.ones(0, 3)
    optim.step()
    assert torch.isfinite(value(model))
    with pytest.raises(ValueError, match="empty parameter list"):
        KINDS[kind]([])


@both
@pytest.mark.parametrize("name", ["lr", "weight_decay"])
@pytest.mark.parametrize("value", [-1.0, float("nan")])
def test_rates_below_zero_are_refused_as_torch_refuses_them(kind: str, name: str, value: float) -> None:
    with pytest.raises(ValueError, match=r"-1|nan"):
        KINDS[kind](net().parameters(), **{name: value})
    optim = KINDS[kind](net().parameters())
    with pytest.raises(ValueError, match=r"-1|nan"):
        optim.add_param_group({"params": [nn.Parameter(torch.zeros(2, 2))], name: value})


@both
def test_named_parameters_are_taken(kind: str) -> None:
    models = [net(), net()]
    optims = [KINDS[kind](models[0].parameters()), KINDS[kind](models[1].named_parameters())]
    for model, optim in zip(models, optims, strict=True):
        train(model, optim)
    assert same(*models)


@both
def test_a_loss_scale_drives_it_and_skips(kind: str) -> None:
    models = [net(), net()]
    optims = [KINDS[kind](model.parameters()) for model in models]
    train(models[0], optims[0])
    scaler = torch.amp.GradScaler("cpu", init_scale=64.0, growth_interval=1000)
    for step in (0, 1, None, 2, 3):
        optims[1].zero_grad()
        scaler.scale(value(models[1], step or 0) * (torch.inf if step is None else 1)).backward()
        before = deepcopy(models[1])
        scaler.step(optims[1])
        scaler.update()
        assert same(before, models[1]) == (step is None)
    for one, other in zip(models[0].parameters(), models[1].parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("kind", "torchs"), [("sgd", torch.optim.SGD), ("adamw", torch.optim.AdamW)])
def test_maximize(kind: str, torchs: Any) -> None:
    models = [net(), net()]
    train(models[0], KINDS[kind](models[0].parameters(), maximize=True))
    more = {"momentum": 0.9} if kind == "sgd" else {}
    train(models[1], torchs(models[1].parameters(), lr=0.05, maximize=True, **more))
    for one, other in zip(models[0].parameters(), models[1].parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
