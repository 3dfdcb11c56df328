"""Accumulate: gradient accumulation, one update from several micro-batches.

A window is the micro-batches of one update. Their gradients are added up, and
the optimiser steps once at the end of the window.

Helps   batches that train well and do not fit into memory; ranks that should
        talk less often.
Hurts   micro-batches so small that the device idles. BatchNorm still sees
        micro-batches.
Costs   nothing per micro-batch. The micro-batches of one window are held in
        host memory.
Exact   The gradient is that of the big batch: each micro-batch weighs its items
        over the items of its window. The last window of an epoch may be short;
        its micro-batches are weighted in the same way. In float16, with a loss
        that returns its number of items, the forward passes of the first window
        run once more, to count them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from accel.parts import Group
from accel.values import Count

if TYPE_CHECKING:
    from accel.parts import Run

__all__ = ["Accumulate"]


@dataclass(eq=False)
class Accumulate(Group):
    """Gradient accumulation over windows of `steps` micro-batches.

    Args:
        steps: micro-batches per update.
    """

    steps: Count = 4

    @property
    def configured_size(self) -> int:
        return self.steps

    def setup(self, run: Run) -> None:
        self.batches = run.batches

    def ineffective_settings(self, run: Run) -> list[str]:
        if self.steps == 1:
            return ["accumulate.steps=1 has no effect: every micro-batch is an update"]
        return []

    def plan_notes(self) -> Mapping[str, str]:
        if self.batches is None or self.batches % self.size == 0:
            return {}
        return {"last window": f"{self.batches % self.size} of {self.size} micro-batches, weighted by what it holds"}
