from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

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

    def any(self, flag: bool) -> bool:
        """Whether any rank says so. Every rank must ask, and waits for the others on the host."""
        return flag

    def agree(self, flag: bool) -> bool:
        """Whether any rank said so when it asked last, the same answer on every rank; this `flag` is heard at the next call.

        Asked once per update: the answer travels while the update computes, so nobody waits for it. With one process there
        is nothing to travel, and `flag` itself is the answer.
        """
        return flag

    def gather(self, value: Any) -> list[Any]:
        """Every rank's plain value, by rank. Every rank must call it."""
        return [value]

    def close(self) -> None:
        """Leaves the group of processes, when the run ends, however it ends."""
