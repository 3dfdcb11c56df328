"""Where an export departs from torch: the first layer whose output is another."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite

__all__ = ["INPUT", "Departure"]

INPUT = "input"
"""Stands for the operator where the inputs that the file is given depart already."""


@dataclass(frozen=True)
class Departure:
    """The first layer of a model whose output departs by more than is right."""

    layer: str
    """Path of its module in the user's model; empty for what stands in no layer, such as a normalisation in the graph."""
    operator: str
    """What computes the output in torch's graph: `conv2d`, or several that the engine made one of: `conv2d, relu`."""
    share: float
    """Largest difference of its output, as a share of the largest number of that output."""

    @property
    def sentence(self) -> str:
        """The same in words, a clause."""
        by = (
            f"by {self.share:.2g} of its largest output" if isfinite(self.share) else "by its shape, or numbers that are not finite"
        )
        if self.operator == INPUT:
            return f"what the file is given departs already, {by}: its normalisation is another"
        if not self.layer:
            return f"the first operator that departs is {self.operator}, which is in no layer, {by}"
        return f"the first layer that departs is {self.layer} ({self.operator}), {by}"
