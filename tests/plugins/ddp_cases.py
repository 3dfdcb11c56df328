"""What two ranks do for test_ddp.py; see `tests.ranks`."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from accel.parts import Part, Run, Watch
from accel.plugins.accumulate import Accumulate
from accel.plugins.adamw import AdamW
from accel.plugins.ddp import DDP
from accel.plugins.sgd import SGD
from accel.trainer import Trainer


@dataclass(eq=False)
class Keeps(Watch):
    """Remembers the losses and the run."""

    losses: list[float] = field(default_factory=list, init=False)

    def begin(self, run: Run) -> None:
        self.run = run

    def after(self, step: int, loss: Tensor) -> None:
        self.losses.append(float(loss))


class Points(Trainer):
    """A classifier of points; `samples` of them in training and 7 in evaluation."""

    def __init__(self, samples: int = 22, dtype: torch.dtype = torch.float32, dropout: float = 0.0, **run: Any) -> None:
        super().__init__(**run)
        self.samples, self.dtype, self.dropout = samples, dtype, dropout

    def model(self) -> nn.Module:
        layers = nn.Linear(6, 16), nn.LayerNorm(16), nn.GELU(), nn.Dropout(self.dropout), nn.Linear(16, 3)
        return nn.Sequential(*layers).to(self.dtype)

    def data(self, split: str) -> Any:
        points = torch.randn(self.samples if split == "train" else 7, 6, generator=torch.Generator().manual_seed(len(split)))
        return TensorDataset(points.to(self.dtype), points.argmax(1) % 3)

    def loss(self, model: nn.Module, batch: Any) -> Any:
        return nn.functional.cross_entropy(model(batch[0]), batch[1])


class Words(Points):
    """Its loss is a mean over some items of each sample, more of some than of others."""

    def loss(self, model: nn.Module, batch: Any) -> Any:
        weight = batch[1].add(1)
        each = nn.functional.cross_entropy(model(batch[0]), batch[1], reduction="none")
        return (each * weight).sum() / weight.sum(), weight.sum()


def fit(plugins: list[Part], kind: type[Points] = Points, batch_size: int = 3, epochs: int = 2, **settings: Any) -> dict[str, Any]:
    """What a run came to."""
    keeps = Keeps()
    trainer = kind(plugins=[*plugins, keeps], watch=(), batch_size=batch_size, epochs=epochs, seed=5, device="cpu", **settings)
    result = trainer.fit()
    weights = [param.detach().clone() for param in result.model.parameters()]
    return {"weights": weights, "losses": keeps.losses, "metrics": result.metrics, "result": result.summary()}


def distance(one: dict[str, Any], other: dict[str, Any]) -> float:
    """How far two runs are apart, in weights, losses and metrics."""
    numbers = [abs(a - b) for a, b in zip(one["losses"], other["losses"], strict=True)]
    numbers += [abs(one["metrics"][name] - other["metrics"][name]) for name in one["metrics"]]
    numbers += [float((a - b).abs().max()) for a, b in zip(one["weights"], other["weights"], strict=True)]
    return max(numbers)


def case_one_process_on_the_big_batch(folder: Path) -> dict[str, float]:
    found = {}
    for optim in (lambda: SGD(lr=0.1, momentum=0.0), lambda: AdamW(lr=0.01)):
        for dtype in (torch.float32, torch.float64):
            for steps, samples in product((1, 3), (19, 21, 23, 24)):
                kind = Words if samples in (21, 23) else Points
                ours = fit([DDP(), optim(), *windows(steps)], kind, samples=samples, dtype=dtype)
                big = fit([optim(), *windows(steps)], kind, batch_size=6, samples=samples, dtype=dtype)
                name = f"{type(optim()).__name__} {dtype} accumulate={steps} samples={samples} {kind.__name__}"
                found[name] = distance(ours, big)
    return found


def windows(steps: int) -> list[Part]:
    """Accumulation over so many micro-batches."""
    return [Accumulate(steps=steps)] if steps > 1 else []
