"""One of two processes that train together. Writes the weights of each case.

With ACCEL_DRILL=long every place, number and rank is a case.
"""

from __future__ import annotations

import warnings
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from math import inf, nan
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from accel import Trainer
from accel.errors import TrainingError
from accel.parts import Objective, Parallel, Part
from accel.plugins.accumulate import Accumulate
from accel.plugins.adamw import AdamW
from accel.plugins.clip import Clip
from accel.plugins.finite_guard import FiniteGuard
from accel.plugins.oom import OOM
from tests.plugins.test_oom import WHERE
from tests.support.drill_length import LONG
from tests.support.short_memory import Hungry
from tests.support.waiting import DEADLINE

RANKS = 2


@dataclass(eq=False)
class Gloo(Parallel):
    """Two processes, as torch has them."""

    @property
    def rank(self) -> int:
        return dist.get_rank()

    @property
    def world_size(self) -> int:
        return RANKS

    def model(self, model: nn.Module) -> nn.Module:
        self.wrapped = DistributedDataParallel(model, broadcast_buffers=False, gradient_as_bucket_view=True)
        return self.wrapped

    def sync(self, last: bool) -> AbstractContextManager[None]:
        return nullcontext() if last else self.wrapped.no_sync()

    def sum(self, number: Tensor) -> Tensor:
        number = number.clone()
        dist.all_reduce(number)
        return number

    def any(self, flag: bool) -> bool:
        return bool(self.sum(torch.tensor(int(flag))))

    def gather(self, value: Any) -> list[Any]:
        actual: list[Any] = [None] * RANKS
        dist.all_gather_object(actual, value)
        return actual


class Net(nn.Module):
    """A branch of it is used only where the first number of a batch is above 1: elsewhere its weight gets no gradient."""

    def __init__(self, lacking: bool) -> None:
        super().__init__()
        self.first, self.second, self.lacking = nn.Linear(6, 16), nn.Linear(16, 3), lacking
        self.branch = nn.Linear(6, 16) if lacking else None

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.first(x)
        if self.branch is not None and x[0, 0] > 1:
            hidden = hidden + self.branch(x)
        return self.second(hidden.tanh())


def loss(model: nn.Module, batch: Any) -> Tensor:
    return nn.functional.cross_entropy(model(batch[0]), batch[1])


def batches(rank: int | None) -> list[Any]:
    """What a rank reads, in windows of two micro-batches: uneven ones. None is all of it, as one process would read it."""
    rng = torch.Generator().manual_seed(0)
    actual = []
    for sizes in [((4, 3), (2, 4))] * 4:
        parts = [[(torch.randn(n, 6, generator=rng), torch.randint(3, (n,), generator=rng)) for n in each] for each in sizes]
        parts[1][0][0][0, 0] = 2.0  # the branch is used by rank 1 alone
        for x, _ in (*parts[0], parts[1][1]):
            x[:, 0].clamp_(max=0.5)
        actual += parts[rank] if rank is not None else [part for each in parts for part in each]
    return actual


def fit(plugins: list[Part], rank: int | None = None, lacking: bool = False, data: Any = None) -> list[Tensor]:
    torch.manual_seed(0)
    steps = 2 if rank is not None else 2 * RANKS
    joined: list[Part] = [Gloo()] if rank is not None else []
    plugins = [AdamW(lr=0.01), Accumulate(steps=steps), *joined, *plugins]
    actual = batches(rank) if data is None else data
    if rank is not None:  # of the ready batches a rank takes every second one
        actual = [batch for batch in actual for _ in range(RANKS)]
    trainer = Trainer(Net(lacking), actual, loss=loss, plugins=plugins, watch=())
    return [param.detach().clone() for param in trainer.fit().model.parameters()]


def short(rank: int) -> dict[str, list[Tensor]]:
    """One rank runs out of memory above one sample or two, at each place; both end with the weights of one process."""
    cases: dict[str, list[Tensor]] = {}
    every = [(where, who) for where in WHERE for who in range(RANKS)]
    for where, who in every if LONG else [("forward", 0), ("loss", 1), ("backward", 1)]:
        limit = {"forward": 1, "loss": 2, "backward": 2}[where]
        update = OOM()
        cases[f"{where}, rank {who}"] = fit([Hungry(limit=limit if rank == who else 100, where=where), update], rank)
        assert update.size == limit, "the same for both"
        assert update.summary_notes()
    cases["clip"] = fit([Hungry(limit=2 if rank else 100), OOM(grow_after=1), Clip(max_norm=100.0)], rank)
    cases["not short"] = fit([OOM()], rank)
    cases["lacking"] = fit([OOM()], rank, lacking=True)
    with pytest.raises(TrainingError, match="in update 1 on rank 1 even with one sample at a time"):
        fit([Hungry(limit=0 if rank else 100), OOM()], rank)
    return cases


MARK = 12345.0


class Spoil(torch.autograd.Function):
    """Makes the gradient of one number what `number` says; the loss is as it was."""

    @staticmethod
    def forward(ctx: Any, out: Tensor, number: float) -> Tensor:
        ctx.number = number
        return out.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:  # type: ignore[override]
        grad = grad.clone()
        grad[0, 0] = ctx.number
        return grad, None


@dataclass(eq=False)
class Spoils(Objective):
    """Spoils the gradient of the batch with the mark."""

    number: Any = nan

    def __call__(self, model: nn.Module, batch: Any) -> tuple[Tensor, Any]:
        x, y = batch
        out = model(x)
        return nn.functional.cross_entropy(Spoil.apply(out, self.number) if x[0, 1] == MARK else out, y), None  # type: ignore[no-untyped-call]


def spoilt(rank: int) -> dict[str, list[Tensor]]:
    """A number that is not finite, on one rank: no rank moves, and both count it."""
    cases: dict[str, list[Tensor]] = {}
    every = [(kind, number, who) for kind in ("input", "gradient") for number in (nan, inf, -inf) for who in range(RANKS)]
    for kind, number, who in every if LONG else [("input", nan, 1), ("gradient", nan, 0), ("gradient", inf, 1)]:
        data, guard, others = batches(rank), FiniteGuard(), list[Part]()
        if rank == who and kind == "input":
            data[3][0][0, 1] = number  # of the second update
        elif rank == who:
            data[3][0][0, 1] = MARK
            others = [Spoils(number=number)]
        cases[f"{number} in {kind}, rank {who}"] = fit([guard, *others], rank, data=data)
        assert guard.skipped == 1
    data = batches(rank)
    data[5][0][:] = torch.nan if rank else 0.0
    with pytest.raises(TrainingError, match="finite_guard: the loss or a gradient was not finite in update 3"):
        fit([FiniteGuard(in_a_row=1)], rank, data=data)
    return cases


def main(store: str, rank: int, out: str) -> None:
    warnings.simplefilter("ignore")
    limit = timedelta(seconds=DEADLINE)
    dist.init_process_group("gloo", store=dist.FileStore(store, RANKS), rank=rank, world_size=RANKS, timeout=limit)
    torch.set_num_threads(1)
    torch.save({"short": short(rank), "spoilt": spoilt(rank)}, f"{out}/{rank}.pt")
    if rank == 0:
        whole = batches(None)
        one = {"plain": fit([]), "lacking": fit([], lacking=True), "without": fit([], data=whole[:4] + whole[8:])}
        torch.save(one, f"{out}/one.pt")
    dist.destroy_process_group()
