"""An example as a task of accel: `task._target_=traced.task.Traced task.example=NAME`, with benchmarks/ on the path."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.utils.data import DataLoader

from accel import Trainer
from traced.examples import EXAMPLES


class Traced(Trainer):
    """One of the examples.

    Args:
        example: its name.
        run: settings of the run, as in `Trainer`.
    """

    def __init__(self, example: str, **run: Any) -> None:
        super().__init__(**run)
        self.example = EXAMPLES[example]

    def model(self) -> nn.Module:
        return self.example.network()

    def data(self, split: str) -> Any:
        if split != "train":
            return None
        data = self.example.data()
        return data if self.example.loader_batch else DataLoader(data, batch_size=None)

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        return self.example.loss(model, batch)
