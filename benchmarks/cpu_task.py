"""The task of benchmarks/cpu.py, as accel's command line takes it."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from accel import Trainer

GIVEN: dict[str, Any] = {}
"""Model, batches and loss of the run, set before the task is made."""


class Measured(Trainer):
    """What `GIVEN` holds."""

    def model(self) -> nn.Module:
        model: nn.Module = GIVEN["model"]
        return model

    def data(self, split: str) -> Any:
        return GIVEN["batches"] if split == "train" else None

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        value: Tensor = GIVEN["loss"](model, batch)
        return value
