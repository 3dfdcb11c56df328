"""A task that ends its run from one of its own methods, or from its data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from accel import Trainer
from accel.parts import Run, Watch

X = torch.arange(24.0)[:, None] / 24


@dataclass(eq=False)
class Keeps(Watch):
    """Keeps the run, from its set-up on."""

    def setup(self, run: Run) -> None:
        self.run = run


class Reads(Dataset[Tensor]):
    """Samples one by one; calls `asks` for each that is read."""

    def __init__(self, asks: Callable[[], None]) -> None:
        self.asks = asks

    def __len__(self) -> int:
        return len(X)

    def __getitem__(self, index: int) -> Tensor:
        self.asks()
        return X[index]


class Judged(Trainer):
    """Asks for the end of its run from `where`, once 4 updates are done; six of batches of four make an epoch.

    Args:
        where: `loss`, `metrics`, `evaluated`, `data` or `data to evaluate on`; anything else asks for nothing.
        asks: whether this rank does.
        **run: settings of the run.
    """

    aside = ("where", "asks")

    def __init__(self, where: str, asks: bool = True, **run: Any) -> None:
        self.keeps = Keeps()
        settings = {"batch_size": 4, "epochs": 3, "evaluate_every": 2, "device": "cpu", **run}
        super().__init__(watch=[self.keeps], **settings)
        self.where, self.asks = where, asks

    def ask(self, where: str) -> None:
        run = getattr(self.keeps, "run", None)
        if self.asks and where == self.where and run is not None and run.progress.step >= 4:
            run.stop(f"asked by the {where}")

    def model(self) -> nn.Module:
        return nn.Linear(1, 2)

    def data(self, split: str) -> Any:
        return Reads(lambda: self.ask("data" if split == "train" else "data to evaluate on"))

    def loss(self, model: nn.Module, batch: Tensor) -> Tensor:
        if model.training:
            self.ask("loss")
        out: Tensor = model(batch).square().mean()
        return out

    def metrics(self, model: nn.Module, batch: Tensor) -> dict[str, Tensor]:
        self.ask("metrics")
        return {"loss": self.loss(model, batch)}

    def evaluated(self, metrics: dict[str, float]) -> None:
        self.ask("evaluated")
