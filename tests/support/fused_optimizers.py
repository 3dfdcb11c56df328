"""Fused optimisers beside torch's, and the steps that both make."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import Any

import torch
from torch import nn
from torch.nn.functional import cross_entropy


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))


def train(model: nn.Module, optim: torch.optim.Optimizer, steps: int = 3) -> None:
    for i in range(steps):
        optim.zero_grad()
        cross_entropy(model(torch.randn(8, 6, generator=torch.Generator().manual_seed(i))), torch.arange(8) % 3).backward()
        optim.step()


def equal(one: nn.Module, other: nn.Module) -> bool:
    return all(map(torch.equal, one.parameters(), other.parameters()))


def saved_and_loaded(
    optim: torch.optim.Optimizer, params: list[nn.Parameter], make: Callable[[list[nn.Parameter]], torch.optim.Optimizer]
) -> tuple[Any, list[nn.Parameter]]:
    """Return an optimiser made anew over copies of `params`, both as they come back from a file."""
    file = BytesIO()
    torch.save({"optim": optim.state_dict(), "params": params}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    copies = [nn.Parameter(param.detach().clone()) for param in saved["params"]]
    loaded = make(copies)
    loaded.load_state_dict(saved["optim"])
    return loaded, copies
