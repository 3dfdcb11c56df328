"""The fused optimisers are torch's to the bit, whatever happens between two steps."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from accel.optim.fused import Fused, FusedAdamW, FusedSGD

KINDS: list[tuple[type[Fused], type[torch.optim.Optimizer], dict[str, Any]]] = [
    (FusedSGD, torch.optim.SGD, {"lr": 0.1}),
    (FusedSGD, torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01}),
    (FusedAdamW, torch.optim.AdamW, {"lr": 0.1, "weight_decay": 0.1}),
]


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))


@pytest.mark.parametrize(("ours", "torchs", "settings"), KINDS)
def test_equals_torch(ours: type[Fused], torchs: type[torch.optim.Optimizer], settings: dict[str, Any]) -> None:
    nets = [net(), net()]
    groups = [[{"params": model[0].parameters()}, {"params": model[2].parameters(), "lr": 0.01}] for model in nets]
    optims: list[Any] = [ours(groups[0], **settings), torchs(groups[1], fused=True, **settings)]  # type: ignore[call-arg]
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


@pytest.mark.parametrize(("ours", "torchs", "settings"), KINDS)
def test_a_first_step_that_is_skipped_moves_nothing(ours: type[Fused], torchs: Any, settings: dict[str, Any]) -> None:
    model = net()
    before = [param.detach().clone() for param in model.parameters()]
    optim = ours(model.parameters(), **settings)  # type: ignore[call-arg]
    model(torch.randn(2, 6)).sum().backward()
    optim.found_inf = torch.ones(())
    optim.step()
    assert all(map(torch.equal, before, model.parameters()))
    assert not any(value.any() for state in optim.state.values() for value in state.values())
