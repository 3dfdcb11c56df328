"""Handwritten digits that come with scikit-learn: a real data set without a download."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from accel.errors import ConfigError
from accel.models.convnet import convnet
from accel.tasks.check import check
from accel.tasks.scores import scores
from accel.trainer import Trainer
from accel.values import Count, Decay

HELD_OUT = 360
"""Of 1,797 pictures; the split is the same for every seed, so that runs can be compared."""


class Digits(Trainer):
    """Classifies 8x8 pictures of handwritten digits with a small convolutional network.

    Args:
        width: channels of the first convolution, a multiple of 4; the others have twice as many.
        smoothing: the share of each label that is spread over all ten digits in training. The pictures are few, and without it
            the network is soon certain of every one of them and learns nothing more.
    """

    evaluates = "test"

    def __init__(self, width: Count = 16, smoothing: Decay = 0.1, **run: Any) -> None:
        super().__init__(**run)
        check(Digits, width=width, smoothing=smoothing)
        if width % 4:
            raise ConfigError(f"task.width must be a multiple of 4 (the channels are normalised in 4 groups), not {width}")
        self.width, self.smoothing = width, smoothing

    def model(self) -> nn.Module:
        return convnet(num_classes=10, width=self.width)

    def data(self, split: str) -> TensorDataset:
        return digits()["train" if split == "train" else "test"]

    def loss(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        pictures, labels = batch
        return F.cross_entropy(model(pictures), labels, label_smoothing=self.smoothing)

    def metrics(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        pictures, labels = batch
        return scores(model(pictures), labels)


def digits() -> dict[str, TensorDataset]:
    """`train` and `test`: pictures (n, 1, 8, 8) float32 from 0 to 1, labels (n,) int64, each digit in its fair share.

    Source: Alpaydin and Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository (test part).

    Raises:
        ConfigError: where scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split
    except ModuleNotFoundError:
        raise ConfigError("task=digits needs scikit-learn, which brings the pictures: pip install 'accel-train[demo]'") from None
    pictures, labels = load_digits(return_X_y=True)
    train, test, train_labels, test_labels = train_test_split(pictures, labels, test_size=HELD_OUT, stratify=labels, random_state=0)
    return {"train": _tensors(train, train_labels), "test": _tensors(test, test_labels)}


def _tensors(pictures: Any, labels: Any) -> TensorDataset:
    scaled = torch.from_numpy(pictures).float().div_(16).view(-1, 1, 8, 8)
    return TensorDataset(scaled, torch.from_numpy(labels))
