from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from accel.parts.grads import Grads
from accel.parts.part import Part

if TYPE_CHECKING:
    from accel.parts.run import Run


@dataclass(eq=False)
class Guard(Part):
    """Which updates may move the weights; plainest: every one that the precision lets through."""

    def setup(self, run: Run) -> None:
        self.skipped: Tensor | None = run.parts.precision.skipped
        """How many updates moved nothing, a 0-dim float32 on the device; None where none can be skipped."""

    def check(self, grads: Grads, loss: Tensor) -> Grads:
        """The gradients of the whole window, marked (`found_inf`) where they must not move anything. `loss` is its mean loss."""
        return grads
