"""Differences between the outputs of two models, added up over batches."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, isfinite

import torch
from torch import Tensor

__all__ = ["OutputDifferences"]


class OutputDifferences:
    """Largest and mean difference of outputs, and how often both have their largest score in the same place."""

    def __init__(self) -> None:
        self.largest, self.scale, self.total, self.numbers = 0.0, 0.0, 0.0, 0
        self.alike, self.rows = 0, 0
        self.place = ""
        """Where the largest difference is, in words."""
        self.worst: tuple[list[Tensor], int] | None = None
        """Inputs of the call with the largest difference, and the sample in which it is; None as long as nobody tells."""
        self.misshapen = ""
        """What has another shape than it must have, in words; empty if nothing has."""

    def add(self, expected: Sequence[Tensor], actual: Sequence[Tensor], names: Sequence[str]) -> None:
        """Add the outputs of one call.

        Args:
            expected: those of the torch model.
            actual: those of the other, as many.
            names: what they are called.
        """
        if len(expected) != len(actual):
            self.largest, self.place = inf, f"{len(actual)} outputs where there are {len(expected)}"
            self.misshapen = self.place
            return
        for name, one, two in zip(names, expected, actual, strict=True):
            if one.shape != two.shape:
                self.largest, self.place = inf, f"{name} of shape {tuple(two.shape)} where it is {tuple(one.shape)}"
                self.misshapen = self.place
            elif one.numel():
                self._add(name, one, two)
        first, second = expected[0], actual[0]
        if first.shape == second.shape and first.is_floating_point() and first.dim() > 1 and first.shape[-1] > 1:
            alike = first.argmax(-1) == second.argmax(-1)
            self.alike += int(alike.sum())
            self.rows += alike.numel()

    def _add(self, name: str, one: Tensor, two: Tensor) -> None:
        one, two = _plain(one), _plain(two)
        same = (one == two) | (one.isnan() & two.isnan())  # infinities among them, of a mask
        distance = torch.where(same, 0.0, (one - two).abs()).nan_to_num(nan=inf, posinf=inf)
        largest = float(distance.max())
        if largest > self.largest:
            self.largest, self.place = largest, name
        finite = one[one.isfinite()]
        self.scale = max(self.scale, float(finite.abs().max()) if finite.numel() else 0.0)
        self.total += float(distance.sum())
        self.numbers += distance.numel()

    @property
    def share(self) -> float:
        """The largest difference as a share of the largest output; the difference itself where all outputs are 0."""
        return self.largest / self.scale if self.scale and isfinite(self.largest) else self.largest

    @property
    def mean(self) -> float:
        """The mean difference."""
        return self.total / self.numbers if self.numbers else 0.0

    @property
    def agreement(self) -> float | None:
        """The share of rows whose largest score is in the same place; None where no output has scores."""
        return self.alike / self.rows if self.rows else None


def _plain(tensor: Tensor) -> Tensor:
    """Return a tensor of float64, the two parts of complex numbers beside each other."""
    tensor = tensor.detach().cpu()
    return (torch.view_as_real(tensor) if tensor.is_complex() else tensor).double()
