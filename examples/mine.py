"""A task of your own: a subclass of Trainer with a model, data, a loss and metrics.

examples/05_own_trainer.py trains it, and so does the command line:

cd examples; python -m accel.train task._target_=mine.Digits task.width=64 epochs=5 +plugins=[amp,adamw,onecycle]
"""

from typing import Any

import digits
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from accel import Trainer


class Digits(Trainer):
    """Digits by a net with one hidden layer.

    Args:
        width: hidden units; a setting of the task.
        **run: settings of the run, such as epochs and plugins.
    """

    evaluates = "test"  # the split that metrics are computed on

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
