"""Two ranks, of which the second computes, reads or moves its weights more slowly: what the doctor makes of it."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, TensorDataset

from accel import Trainer
from accel.diagnose.doctor import doctor
from accel.plugins import Optimizer

SLOWER = 0.05
"""Seconds by which an update of the second rank takes longer."""


def late() -> None:
    """Wait, on the second rank."""
    if os.environ["RANK"] == "1":
        time.sleep(SLOWER)


def mean_square(model: nn.Module, batch: Any) -> Tensor:
    """The mean square of what the model returns."""
    value: Tensor = model(batch[0]).square().mean()
    return value


def late_loss(model: nn.Module, batch: Any) -> Tensor:
    """The same, late on the second rank."""
    late()
    return mean_square(model, batch)


class LateSamples(Dataset[Any]):
    """Samples of which the first of each batch comes late on the second rank."""

    def __len__(self) -> int:
        return 64

    def __getitem__(self, index: int) -> tuple[Tensor]:
        if os.environ["RANK"] == "1":
            time.sleep(SLOWER / 8)
        return (torch.ones(8),)


class LateSGD(torch.optim.SGD):
    """SGD whose steps are late on the second rank."""

    def step(self, closure: Any = None) -> Any:
        late()
        return super().step(closure)


def verdict_on(data: Any, loss: Any, plugins: list[Any]) -> dict[str, Any]:
    """The verdict on this rank, the rank that is named, and whether the weights are the same as before."""
    torch.manual_seed(0)
    model = nn.Linear(8, 2)
    before = model.weight.detach().clone()
    diagnosis = doctor(Trainer(model, data, loss=loss, plugins=["ddp", *plugins], batch_size=8, watch=()), seconds=4.0)
    return {
        "kind": diagnosis.verdict.kind, "sentence": diagnosis.verdict.sentence, "straggler": diagnosis.split.straggler,
        "same": torch.equal(model.weight, before),
    }  # fmt: skip


def case_alike(folder: Path) -> dict[str, Any]:
    """Ranks that do the same."""
    return verdict_on(TensorDataset(torch.ones(64, 8)), mean_square, [])


def case_computes(folder: Path) -> dict[str, Any]:
    """A rank whose loss takes longer."""
    return verdict_on(TensorDataset(torch.ones(64, 8)), late_loss, [])


def case_reads(folder: Path) -> dict[str, Any]:
    """A rank whose samples come late."""
    return verdict_on(LateSamples(), mean_square, [])


def case_moves_its_weights(folder: Path) -> dict[str, Any]:
    """A rank whose optimiser is slow."""
    return verdict_on(TensorDataset(torch.ones(64, 8)), mean_square, [Optimizer(LateSGD)])
