"""The same as a class: a task of your own, here and on the command line.

cd examples; python -m accel.train task._target_=05_own_trainer.Digits task.width=64 epochs=5 +plugins=[amp,adamw,onecycle]
"""

from typing import Any

import digits
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from accel import Trainer
from accel.plugins import AMP, AdamW, OneCycle


class Digits(Trainer):
    """`width` is a setting of the task; `**run` are those of the run (epochs, plugins, ...)."""

    evaluates = "test"

    def __init__(self, width: int = 32, **run: Any) -> None:
        super().__init__(**run)
        self.width = width

    def model(self) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(64, self.width), nn.ReLU(), nn.Linear(self.width, 10))

    def data(self, split: str) -> TensorDataset:
        return digits.train_set if split == "train" else digits.test_set

    def loss(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        return digits.loss(model, batch)

    def metrics(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        return digits.accuracy(model, batch)


if __name__ == "__main__":
    result = Digits(width=64, plugins=[AMP(), AdamW(), OneCycle(max_lr=0.01)], epochs=5, device="cpu").fit()
    print(f"accuracy {result.metrics['accuracy']:.3f} after {result.updates} updates")
