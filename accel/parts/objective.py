from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from accel.errors import ConfigError, describe
from accel.parts.part import Part

if TYPE_CHECKING:
    from accel.parts.run import Run


@dataclass(eq=False)
class Objective(Part):
    """What is minimised; plainest: the user's loss."""

    def setup(self, run: Run) -> None:
        self.loss = run.loss

    def __call__(self, model: nn.Module, batch: Any) -> tuple[Tensor, Any]:
        """The scalar loss, a mean over its items, and how many those are (int or 0-dim tensor; None for one per sample)."""
        out = self.loss(model, batch)
        loss, items = out if isinstance(out, tuple) and len(out) == 2 else (out, None)
        if not isinstance(loss, Tensor) or loss.dim() or not loss.is_floating_point():
            raise ConfigError(f"loss(model, batch) returned {describe(loss)}; return a scalar tensor, the mean over the batch")
        if not loss.requires_grad:
            raise ConfigError("loss(model, batch) returned a tensor without a gradient: no trained weight has a part in it")
        if isinstance(items, Tensor) and items.dim():
            raise ConfigError(f"loss(model, batch) returned {describe(items)} for n_items; return a number or a 0-dim tensor")
        return loss, items
