"""Runs that try rates before they begin."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from accel import Trainer
from accel.parts import Part
from accel.plugins.metrics import Metrics


class Net(nn.Module):
    """Has whatever a model may keep: BatchNorm, dropout, a buffer that no checkpoint has, one assigned anew, an extra state."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 1))
        self.frozen = nn.Parameter(torch.ones(1), requires_grad=False)
        self.register_buffer("unsaved", torch.zeros(1), persistent=False)
        self.register_buffer("renewed", torch.zeros(1))
        self.calls = 0

    def get_extra_state(self) -> Any:
        return torch.tensor(self.calls)

    def set_extra_state(self, state: Any) -> None:
        self.calls = int(state)

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.calls += 1
            self.frozen.data.mul_(1.01)
            self.unsaved += 0.1
            self.renewed = self.renewed * 0.9 + 0.1
        return self.body(x) * (self.unsaved + self.renewed + self.frozen)  # type: ignore[no-any-return]


def train(plugins: list[Part], data: Any, out: Path | None = None, **settings: Any) -> Any:
    torch.manual_seed(0)
    np.random.seed(0)
    random.seed(0)
    return Trainer(
        Net(), data, data, loss=lambda model, x: (model(x[0] if isinstance(x, list) else x) - 1).square().mean(), plugins=plugins,
        watch=[Metrics(curves=False)], epochs=2, seed=1, out=out, **settings,
    ).fit()  # fmt: skip
