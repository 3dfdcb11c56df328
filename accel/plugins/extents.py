"""Extents: a nearly random order of samples, for data that is larger than memory.

An extent is a run of `size` records that lie side by side. An epoch shuffles
the extents, and then the records of `window` extents at a time, all together.
So only one window is read from at any time. The system's file cache holds it,
and each extent of a disk is read once an epoch. In every epoch the extents
begin elsewhere.

Helps   stores and folders that do not fit into memory, on spinning disks or
        across a network: a plain shuffle seeks for every record.
Hurts   data in memory, where it is a poorer shuffle for nothing. In a folder
        sorted by class, two samples of a batch come from one extent more often
        than by chance. In a batch of B, each has about B / window such
        companions.
Costs   memory, in the system's file cache, for two windows.
Source  quasi-random order of FFCV, arXiv 2306.12517; shuffling blocks, and a
        buffer of them, CorgiPile, arXiv 2206.05830.
Exact   Every sample comes exactly once an epoch, whichever loader reads it. The
        order is a function of the seed, the epoch and both settings, which a
        resumed run must have again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from accel.data.sampling import extent_permutation
from accel.parts import Order
from accel.values import Count

if TYPE_CHECKING:
    from accel.parts import Run

__all__ = ["Extents"]


@dataclass(eq=False)
class Extents(Order):
    """Order that shuffles extents, and then the records of a window of extents.

    Args:
        size: records in an extent, which lie side by side.
        window: extents whose records are shuffled together.
    """

    size: Count = 64
    window: Count = 256

    def permutation(self, samples: int, seed: int, epoch: int) -> Tensor:
        return extent_permutation(samples, seed, epoch, self.size, self.window)

    def plan_notes(self) -> Mapping[str, str]:
        return {"order": f"{self.size * self.window:,} records are mixed: {self.window} extents of {self.size}"}

    def ineffective_settings(self, run: Run) -> list[str]:
        if run.orderable_samples is None:
            return ["extents has no effect: the data comes in its own order"]
        if run.orderable_samples <= self.size * self.window:
            return [f"extents has no effect on reading: one window holds all {run.orderable_samples:,} samples"]
        return []
