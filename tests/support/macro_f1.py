"""Macro F1 as a metric object of torchmetrics' protocol, without torchmetrics."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["MacroF1", "MergedF1"]


class MacroF1:
    """Mean over the classes of 2 hits / (predicted + labelled).

    Args:
        classes: number of classes.
    """

    def __init__(self, classes: int) -> None:
        self.classes = classes
        self.reset()

    def reset(self) -> None:
        self.hits, self.both = torch.zeros(self.classes), torch.zeros(self.classes)

    def update(self, predicted: Tensor, labels: Tensor) -> None:
        self.hits += torch.bincount(labels[predicted == labels], minlength=self.classes)
        self.both += torch.bincount(torch.cat([predicted, labels]), minlength=self.classes)

    def compute(self) -> float:
        return float((2 * self.hits / self.both.clamp(min=1)).mean())


class MergedF1(MacroF1):
    """The same with torcheval's way to combine ranks."""

    def merge_state(self, others: list[MergedF1]) -> None:
        for other in others:
            self.hits += other.hits
            self.both += other.both
