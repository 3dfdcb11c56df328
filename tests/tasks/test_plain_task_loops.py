"""Each task without plugins, or with AdamW alone, is the plain torch loop that one would write by hand: to the bit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import default_collate

from accel.data.sampling import permutation, sample_rng
from accel.parts import Part, Watch
from accel.plugins.adamw import AdamW
from accel.tasks.digits import Digits
from accel.tasks.images import Images
from accel.tasks.text import Text
from accel.trainer import Trainer

pytestmark = pytest.mark.slow

Task = Callable[..., Trainer]


@dataclass(eq=False)
class Losses(Watch):
    """Keeps the loss of each update."""

    def __post_init__(self) -> None:
        self.seen: list[Tensor] = []

    def after(self, step: int, loss: Tensor) -> None:
        self.seen.append(loss.clone())


@pytest.fixture(params=["digits", "images", "text"])
def task(request: pytest.FixtureRequest) -> Task:
    if request.param == "digits":
        return lambda **run: Digits(width=8, **run)
    if request.param == "images":
        root: Path = request.getfixturevalue("pictures")
        return lambda **run: Images(root=root, size=16, **run)
    path: Path = request.getfixturevalue("text")
    return lambda **run: Text(path=path, context=16, layers=2, heads=2, width=16, dropout=0.1, **run)


def sgd(model: nn.Module) -> Optimizer:
    return torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, fused=True)


def adamw(model: nn.Module) -> Optimizer:
    return torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)


@pytest.mark.parametrize(("plugins", "optimizer"), [((), sgd), ((AdamW(lr=1e-3),), adamw)], ids=["sgd", "adamw"])
def test_same_weights_and_losses(task: Task, plugins: tuple[Part, ...], optimizer: Callable[[nn.Module], Optimizer]) -> None:
    losses, size = Losses(), 43 if isinstance(task(), Digits) else 7  # of 1437 digits
    result = task(plugins=[*plugins, losses], watch=(), epochs=2, batch_size=size, seed=5, device="cpu").fit()
    model, expected = by_hand(task(), optimizer, epochs=2, batch_size=size, seed=5)

    assert len(losses.seen) == len(expected) > 2
    assert all(torch.equal(actual, theirs) for actual, theirs in zip(losses.seen, expected, strict=True))
    actual, theirs = result.model.state_dict(), model.state_dict()
    assert all(torch.equal(actual[name], theirs[name]) for name in theirs)
    torch.manual_seed(5)
    fresh = task().model().state_dict()
    assert any(not torch.equal(actual[name], fresh[name]) for name in fresh), "nothing was trained"


def by_hand(task: Trainer, optimizer: Callable[[nn.Module], Optimizer], epochs: int, batch_size: int, seed: int) -> Any:
    torch.manual_seed(seed)
    model = task.model()
    optim = optimizer(model)
    data = task.data("train")
    losses = []
    model.train()
    for epoch in range(epochs):
        for keys in permutation(len(data), seed, epoch).split(batch_size):
            batch = default_collate([read(data, seed, epoch, key) for key in keys.tolist()])
            optim.zero_grad()
            out = task.loss(model, batch)
            loss = out[0] if isinstance(out, tuple) else out
            loss.backward()
            optim.step()
            losses.append(loss.detach())
    return model, losses


def read(data: Any, seed: int, epoch: int, key: int) -> Any:
    return data.sample(key, sample_rng(seed, epoch, key)) if hasattr(data, "sample") else data[key]
