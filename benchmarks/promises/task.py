"""What every peer is given: one weight whose gradient is 1 for every micro-batch, and optimisers that tell what they saw."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

WINDOW = 4
READS = {f"aten::{name}" for name in ("_local_scalar_dense", "is_nonzero", "nonzero", "item", "equal", "allclose")}
"""Operators for whose result a host must wait."""


class Lacking(Exception):
    """A peer has nothing of the kind, or it cannot be run here; the message says which."""


def model() -> nn.Module:
    """One weight, which is 1."""
    net = nn.Linear(1, 1, bias=False)
    nn.init.ones_(net.weight)
    return net


def wide() -> nn.Module:
    """A small net of several weights."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))


def batches(count: int) -> list[Tensor]:
    """Identical micro-batches of one sample."""
    return [torch.ones(1, 1) for _ in range(count)]


def pairs(count: int) -> list[tuple[Tensor, Tensor]]:
    """Batches for `wide`: (16, 8) float32 points and (16,) int64 labels."""
    rng = torch.Generator().manual_seed(1)
    return [(torch.randn(16, 8, generator=rng), torch.randint(4, (16,), generator=rng)) for _ in range(count)]


class Recorder(torch.optim.SGD):
    """SGD that stands still and notes the gradient it is given."""

    seen: list[float]

    def __init__(self, params: Any) -> None:
        super().__init__(params, lr=0.0)
        self.seen = []

    def step(self, closure: Any = None) -> Any:
        value = closure() if closure is not None else None
        self.seen += [round(param.grad.item(), 3) for group in self.param_groups for param in group["params"]]
        return value


class Reads(TorchDispatchMode):
    """Counts what is read on the host."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func.overloadpacket._qualified_op_name in READS
        return func(*args, **(kwargs or {}))


def per_update(train: Any) -> float:
    """Host reads per update: those of 60 updates less those of 20, so that what is read once does not count."""
    counts = []
    for updates in (20, 60):
        with Reads() as reads:
            train(updates)
        counts.append(reads.count)
    return round((counts[1] - counts[0]) / 40, 2)
