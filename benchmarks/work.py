"""The work that every arm of a comparison does: one model, one row of batches, one set of settings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from time import perf_counter, process_time
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR

ACCUMULATE, CLIP, LR, MOMENTUM, DECAY = 4, 1.0, 0.01, 0.9, 0.999
WARM = 256
"""Micro-batches before the clock starts: 64 updates of 4, so that blocks and buffers are where they will be."""
OPTIMS = ("sgd", "adamw")


def pool(size: int = 64) -> list[tuple[Tensor, Tensor]]:
    """Batches in memory: (32, 64) float32 inputs and (32,) int64 labels, the same on every call."""
    rng = torch.Generator().manual_seed(1)
    return [(4 * torch.randn(32, 64, generator=rng), torch.randint(10, (32,), generator=rng)) for _ in range(size)]


class Batches:
    """A re-iterable of ready batches that carries the clock.

    The clock starts when the first batch after the warm-up is asked for, and stops when `timed` batches later the next one is;
    one window more follows. Both marks are requests, so an arm that reads ahead shifts both alike, no arm needs a hook to be
    timed, and nobody's set-up is measured. `wall` and `cpu` are the seconds that passed, and those that
    this process computed: the second leaves out what other programs of a busy machine took.
    """

    def __init__(self, timed: int, warm: int) -> None:
        self.timed, self.warm, self.pool = timed, warm, pool()
        self.wall, self.cpu = float("nan"), float("nan")

    def __len__(self) -> int:
        return self.warm + self.timed + ACCUMULATE

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        batches, size = self.pool, len(self.pool)
        for i in range(self.warm):
            yield batches[i % size]
        wall, cpu = perf_counter(), process_time()
        for i in range(self.timed):
            yield batches[i % size]
        self.wall, self.cpu = perf_counter() - wall, process_time() - cpu
        for i in range(ACCUMULATE):
            yield batches[i % size]


@dataclass
class Work:
    """One training, to be done by one arm."""

    optim: str
    on: bool
    """Whether with accumulation, clipping, OneCycle, bfloat16 and an average of the weights."""
    timed: int
    """Micro-batches between the two marks; a multiple of `ACCUMULATE`."""
    warm: int = WARM
    """Micro-batches before the first mark; a multiple of `ACCUMULATE`."""
    model: nn.Module = field(init=False)
    batches: Batches = field(init=False)

    def __post_init__(self) -> None:
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
        self.batches = Batches(self.timed, self.warm)

    @property
    def updates(self) -> int:
        """How often the weights move."""
        return len(self.batches) // (ACCUMULATE if self.on else 1)

    def optimizer(self, params: Iterable[Any] | None = None, fused: bool = True) -> torch.optim.Optimizer:
        """The optimiser; in torch's fused kernel for every arm that can, because accel uses it too."""
        params = self.model.parameters() if params is None else params
        if self.optim == "sgd":
            return torch.optim.SGD(params, LR, momentum=MOMENTUM, fused=fused)
        return torch.optim.AdamW(params, LR, fused=fused)

    def onecycle(self, optimizer: torch.optim.Optimizer) -> OneCycleLR:
        """torch's own schedule, over the updates; it leaves betas and momentum alone."""
        return OneCycleLR(optimizer, max_lr=LR, total_steps=self.updates, cycle_momentum=False)
