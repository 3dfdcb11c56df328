"""The fused optimisers are torch's to the bit, whatever happens between two steps."""

from __future__ import annotations

import copy
import pickle
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from accel import Trainer
from accel.errors import AccelWarning
from accel.optim import LAMB, LARS
from accel.optim.adamw import FusedAdamW
from accel.optim.fused import Fused
from accel.optim.sgd import FusedSGD
from accel.parts import Optim
from accel.plugins.adamw import AdamW
from accel.plugins.clip import Clip
from accel.plugins.sgd import SGD
from tests.support.fused_optimizers import equal, net, train

KINDS: list[tuple[type[Fused], type[torch.optim.Optimizer], dict[str, Any]]] = [
    (FusedSGD, torch.optim.SGD, {"lr": 0.1}),
    (FusedSGD, torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01}),
    (FusedAdamW, torch.optim.AdamW, {"lr": 0.1, "weight_decay": 0.1}),
]


@pytest.mark.parametrize(("actual", "torchs", "settings"), KINDS)
def test_equals_torch(actual: type[Fused], torchs: type[torch.optim.Optimizer], settings: dict[str, Any]) -> None:
    nets = [net(), net()]
    groups = [[{"params": model[0].parameters()}, {"params": model[2].parameters(), "lr": 0.01}] for model in nets]
    optims: list[Any] = [actual(groups[0], **settings), torchs(groups[1], fused=True, **settings)]  # type: ignore[call-arg]
    for i in range(20):
        x, y = torch.randn(8, 6, generator=torch.Generator().manual_seed(i)), torch.arange(8) % 3
        for model, optim in zip(nets, optims, strict=True):
            model.zero_grad()
            cross_entropy(model(x), y).backward()
            if i % 5 == 3:
                model[0].bias.grad = None
            optim.grad_scale = torch.tensor(1.5) if i % 2 else None
            optim.found_inf = torch.tensor(float(i % 7 == 3)) if i else None
            optim.step()
        if i == 10:  # each goes on from the other's state
            states = [optim.state_dict() for optim in optims]
            optims[0].load_state_dict(states[1])
            optims[1].load_state_dict(states[0])
    for mine, theirs in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
        assert torch.equal(mine, theirs)
        for name, value in optims[1].state[theirs].items():
            assert value is None or torch.equal(optims[0].state[mine][name], value), name


@pytest.mark.parametrize(("actual", "torchs", "settings"), KINDS)
def test_a_first_step_that_is_skipped_moves_nothing(actual: type[Fused], torchs: Any, settings: dict[str, Any]) -> None:
    model = net()
    before = [param.detach().clone() for param in model.parameters()]
    optim = actual(model.parameters(), **settings)  # type: ignore[call-arg]
    model(torch.randn(2, 6)).sum().backward()
    optim.found_inf = torch.ones(())
    optim.step()
    assert all(map(torch.equal, before, model.parameters()))
    assert not any(value.any() for state in optim.state.values() for value in state.values())


@pytest.mark.parametrize(("actual", "torchs", "settings"), KINDS)
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))], ids=["deepcopy", "pickle"])
def test_a_copy_goes_on_as_the_original(actual: Any, torchs: Any, settings: dict[str, Any], copied: Any) -> None:
    mine, theirs = net(), net()
    optim, other = actual(mine.parameters(), **settings), torchs(theirs.parameters(), fused=True, **settings)
    train(mine, optim)
    train(theirs, other)
    twin, twins = copied((mine, optim))
    for model, its in ((mine, optim), (twin, twins), (theirs, other)):
        train(model, its)
    assert equal(mine, theirs)
    assert equal(twin, theirs)


@pytest.mark.parametrize(("actual", "torchs", "settings"), KINDS)
def test_torchs_own_drivers_drive_it(actual: Any, torchs: Any, settings: dict[str, Any]) -> None:
    """A closure, GradScaler, a learning rate schedule, and a group of its own settings that comes later."""
    models = []
    for kind, fused in ((actual, {}), (torchs, {"fused": True})):
        models.append(model := net())
        optim = kind(model[0].parameters(), **settings, **fused)
        own = {"lr": 0.05, "momentum": 0.5} if actual is FusedSGD else {"lr": 0.05}
        optim.add_param_group({"params": list(model[2].parameters()), **own})
        scaler, schedule = torch.amp.GradScaler("cpu", init_scale=64.0), torch.optim.lr_scheduler.ExponentialLR(optim, 0.9)
        x, y = torch.randn(8, 6, generator=torch.Generator().manual_seed(0)), torch.arange(8) % 3
        for i in range(6):
            optim.zero_grad()
            scaler.scale(cross_entropy(model(x), y) * (torch.inf if i == 3 else 1)).backward()
            if i == 4:
                scaler.unscale_(optim)
            scaler.step(optim)
            scaler.update()
            schedule.step()

        def closure(model: nn.Module = model, optim: Any = optim, x: Any = x, y: Any = y) -> torch.Tensor:
            optim.zero_grad()
            loss = cross_entropy(model(x), y)
            loss.backward()
            return loss

        assert optim.step(closure).requires_grad
    assert equal(*models)


@pytest.mark.parametrize(("kind", "setting"), [(FusedSGD, {"dampening": 0.5}), (FusedAdamW, {"amsgrad": True})])
def test_what_the_kernel_is_not_called_with_is_refused(kind: Any, setting: dict[str, Any]) -> None:
    model = net()
    with pytest.raises(ValueError, match=f"{kind.__name__} has no {next(iter(setting))}"):
        train(model, kind(model.parameters(), lr=0.1, **setting))


@pytest.mark.parametrize("optim", [SGD, AdamW])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_weights_of_another_format_are_clipped_too(optim: type[Optim], dtype: torch.dtype) -> None:
    def fit(fused: bool) -> nn.Module:
        data = [(torch.randn(4, 6, generator=torch.Generator().manual_seed(i)).to(dtype), torch.arange(4) % 3) for i in range(4)]
        plugins = [optim(fused=fused), Clip(max_norm=0.1)]  # type: ignore[call-arg]
        trainer = Trainer(net().to(dtype), data, loss=lambda m, b: cross_entropy(m(b[0]), b[1]), plugins=plugins, watch=())
        with pytest.warns(AccelWarning, match="16 bits") if dtype == torch.bfloat16 else nullcontext():
            return trainer.fit().model

    for one, other in zip(fit(True).parameters(), fit(False).parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-14 if dtype == torch.float64 else 2e-3)


@pytest.mark.parametrize("kind", [FusedSGD, FusedAdamW])
def test_gradients_in_shared_memory_are_divided_once(kind: Any) -> None:
    params = [nn.Parameter(torch.full(shape, 0.5)) for shape in ((3, 2), (2, 3))]
    optim = kind(params, lr=0.1)
    for scale in (3.0, 2.0):
        optim.zero_grad()
        ((params[0].reshape(-1) + params[1].reshape(-1)) * torch.arange(6.0)).sum().backward()  # type: ignore[no-untyped-call]
        optim.grad_scale = torch.tensor(scale)
        optim.step()
    assert torch.equal(params[0].view(-1), params[1].view(-1))


@pytest.mark.parametrize("kind", [FusedSGD, FusedAdamW, LAMB, LARS])
def test_weights_that_were_given_other_memory_are_followed(kind: Any) -> None:
    nets = [net(), net()]
    optims = [kind(model.parameters(), lr=0.1) for model in nets]
    for model, optim in zip(nets, optims, strict=True):
        train(model, optim)
    for param in nets[0].parameters():
        param.data = param.detach().clone()
    for model, optim in zip(nets, optims, strict=True):
        train(model, optim)
    assert equal(*nets)
