from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from torch import Tensor, nn

from accel.parts.part import Part

NOTHING = nullcontext()


@dataclass(eq=False)
class Parallel(Part):
    """How many processes train together; plainest: one."""

    @property
    def rank(self) -> int:
        """This process's number, from 0."""
        return 0

    @property
    def world_size(self) -> int:
        """How many processes there are."""
        return 1

    def model(self, model: nn.Module) -> nn.Module:
        """The model wrapped so that its gradients are averaged over the ranks."""
        return model

    def sync(self, last: bool) -> AbstractContextManager[None]:
        """Around forward and backward of a micro-batch; gradients travel only where it is the `last` real one of its window."""
        return NOTHING

    def sum(self, number: Tensor) -> Tensor:
        """The sum of a number over all ranks, on the device."""
        return number
