"""Models, data and losses of random runs."""

from __future__ import annotations

from collections.abc import Iterator
from math import isnan
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from accel.data.sampling import permutation

if TYPE_CHECKING:
    from tests.support.random_runs import Case

FEATURES, CLASSES = 12, 4
MODELS = ("mlp", "batchnorm", "convolution", "recurrent", "frozen", "tied", "blocks")


class OnDevice(Tensor):
    """A tensor on the CPU that is read no earlier than one of a device would be: nothing but a plain tensor is."""


class Block(nn.Module):
    """A residual block."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layer = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.tanh(self.layer(x))


class Net(nn.Module):
    """A small model of one of the kinds of `MODELS`."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind, width = kind, 6
        self.body: nn.Module = nn.Linear(FEATURES, width)
        if kind == "convolution":
            self.body = nn.Sequential(nn.Unflatten(1, (3, 2, 2)), nn.Conv2d(3, 5, 2, padding=1), nn.Flatten(), nn.Linear(45, width))
        elif kind == "recurrent":
            self.body = nn.GRU(3, width, batch_first=True)
        elif kind == "batchnorm":
            self.body = nn.Sequential(
                nn.Linear(FEATURES, width, bias=False), nn.BatchNorm1d(width)
            )  # a bias' gradient would be rounding alone
        elif kind == "frozen":
            self.body = nn.Sequential(nn.Linear(FEATURES, 7), nn.Tanh(), nn.Linear(7, width))
            self.body[0].requires_grad_(False)  # type: ignore[index]
        elif kind == "tied":
            self.body = nn.Sequential(nn.Linear(FEATURES, width), nn.Tanh(), nn.Linear(width, width), nn.Linear(width, width))
            self.body[3].weight = self.body[2].weight  # type: ignore[index,union-attr]
        elif kind == "blocks":
            self.body = nn.Sequential(nn.Linear(FEATURES, width), Block(width), Block(width))
        self.middle, self.head = nn.Linear(width, 8), nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        out = self.body(x.unflatten(1, (4, 3)))[0][:, -1] if self.kind == "recurrent" else self.body(x)
        return self.head(torch.tanh(self.middle(out)))  # type: ignore[no-any-return]


def make_model(case: Case) -> nn.Module:
    return Net(case.model).to(case.dtype)


def make_data(case: Case, offset: int = 0) -> tuple[Tensor, Tensor]:
    """Samples, (n, FEATURES), and labels, (n,), of which some are -1 if the case counts tokens."""
    generator = torch.Generator().manual_seed(1000 + case.seed + offset)
    x = torch.randn(case.samples, FEATURES, generator=generator, dtype=torch.float64).to(case.dtype)
    y = torch.randint(0, CLASSES, (case.samples,), generator=generator)
    if case.tokens:
        y[torch.rand(case.samples, generator=generator) < case.blank] = -1
    if not offset:
        x[case.spoilt] = torch.inf
    return x, y


def loss(case: Case, model: nn.Module, batch: Any) -> Any:
    """The loss of a batch: a mean over its samples; with tokens, a mean over the labels that are not -1, and their number.

    With scalars it logs a tensor and a number as well.
    """
    x, y = batch
    out = model(x).to(case.dtype)
    logged = ({"size": out.detach().square().mean(), "half": 0.5},) if case.scalars else ()
    if not case.tokens:
        return (F.cross_entropy(out, y), *logged) if logged else F.cross_entropy(out, y)
    count = (y >= 0).sum()
    if isnan(case.mean_of_nothing):
        mean = F.cross_entropy(out, y, ignore_index=-1)
    else:
        mean = F.cross_entropy(out, y, ignore_index=-1, reduction="sum") / count.clamp(min=1)
    counted = {"int": int, "tensor": Tensor.clone, "device": lambda number: number.as_subclass(OnDevice)}[case.count](count)
    return mean, counted, *logged


def epoch_batches(case: Case, data: tuple[Tensor, Tensor], epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
    if case.batches:
        yield from zip(data[0].split(case.batches), data[1].split(case.batches), strict=True)
        return
    for keys in permutation(case.samples, case.seed, epoch).split(case.batch_size):  # type: ignore[no-untyped-call]
        yield data[0][keys], data[1][keys]
