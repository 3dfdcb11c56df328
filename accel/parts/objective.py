from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

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
        return (out[0], out[1]) if isinstance(out, tuple) else (out, None)
