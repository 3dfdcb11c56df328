from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import nn

from accel.parts.grads import Grads
from accel.parts.parallel import NOTHING
from accel.parts.part import Part

if TYPE_CHECKING:
    from accel.parts.run import Run


@dataclass(eq=False)
class Average(Part):
    """An average of the weights over the updates; plainest: none."""

    def setup(self, run: Run) -> None: ...

    def update(self, grads: Grads) -> None:
        """After the optimiser's step; moves only where that did (`grads.found_inf`)."""

    def weights(self, model: nn.Module) -> AbstractContextManager[None]:
        """Inside, `model` has the weights to evaluate and to hand out; afterwards its own, bit for bit."""
        return NOTHING
