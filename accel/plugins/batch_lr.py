"""BatchLR: learning rates that follow the effective batch.

Each learning rate that is written, the optimiser's and a schedule's max_lr, is
meant for a batch of `reference` samples. The run multiplies it by the effective
batch over the reference (rule=linear), or by the square root of that ratio
(rule=sqrt). The effective batch is batch_size x micro-batches per update x
ranks.

Helps   to change batch_size, accumulate or the number of ranks, and to keep a
        learning rate that was tuned for another batch.
Hurts   far from the reference: beyond some batch a larger rate diverges.
        Warm-up, lars and lamb move that point.
Costs   nothing: one number, computed before the first update.
Source  linear, for SGD: Goyal et al., Accurate, Large Minibatch SGD, arXiv
        1706.02677. sqrt, for Adam: Malladi et al., On the SDEs and Scaling
        Rules for Adaptive Gradient Algorithms, arXiv 2205.10287.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING, Literal

from accel.errors import ConfigError
from accel.parts import Rate
from accel.values import Count

if TYPE_CHECKING:
    from accel.parts import Run

__all__ = ["BatchLR"]


@dataclass(eq=False)
class BatchLR(Rate):
    """Learning rates times (effective batch / reference), or its square root.

    Args:
        reference: effective batch for which the learning rates are written, in samples.
        rule: factor on the rates: linear, the ratio itself, for SGD; sqrt, its square root, for Adam and its kin.
    """

    reference: Count = 256
    rule: Literal["linear", "sqrt"] = "linear"

    def setup(self, run: Run) -> None:
        if not run.uses_batch_size:
            raise ConfigError(
                "batch_lr needs batch_size, and the data comes in ready batches; leave it out with '~plugins.batch_lr'"
            )
        self.effective_batch = run.batch_size * run.parts.group.size * run.parts.parallel.world_size
        ratio = self.effective_batch / self.reference
        self.factor = ratio if self.rule == "linear" else sqrt(ratio)

    def plan_notes(self) -> Mapping[str, str]:
        ratio = f"{self.effective_batch} / {self.reference}"
        return {"learning rates": f"x {self.factor:.3g} = {ratio if self.rule == 'linear' else f'the root of {ratio}'}"}

    def ineffective_settings(self, run: Run) -> list[str]:
        if self.effective_batch == self.reference:
            return [f"batch_lr has no effect: the effective batch is its reference, {self.reference}"]
        return []
