from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor, nn

from accel.parts.grads import Grads
from accel.parts.parallel import NOTHING
from accel.parts.part import Part

if TYPE_CHECKING:
    from accel.parts.run import Run

__all__ = ["Precision"]


@dataclass(eq=False)
class Precision(Part):
    """In which number formats the step computes; plainest: float32 throughout."""

    def setup(self, run: Run) -> None:
        self.skipped: Tensor | None = None
        """How many updates were skipped, a 0-dim float32 on the device; None where none can be."""

    def parameters(self, model: nn.Module) -> list[tuple[str, Tensor]]:
        """What the optimiser shall move, by its name in the user's own model: the trainable parameters, or their masters."""
        self.params: list[tuple[str, Tensor]] = [(name, param) for name, param in model.named_parameters() if param.requires_grad]
        return self.params

    def cast(self) -> AbstractContextManager[None]:
        """Around the forward pass and the loss, in training and in evaluation."""
        return NOTHING

    def backward(self, loss: Tensor, weight: Tensor) -> None:
        """The backward pass of one micro-batch. It starts from the weight (0-dim) instead of from 1: nothing is multiplied."""
        loss.backward(weight)  # type: ignore[no-untyped-call]

    def gradients(self) -> Grads:
        """The gradients of the whole window, with the factor still to be applied."""
        return Grads([param for _, param in self.params if param.grad is not None])

    def publish(self) -> None:
        """Brings the model's own weights to where the optimiser's are, where these are others (masters)."""

    def adapt(self, grads: Grads) -> None:
        """After the step: moves the loss scale, where there is one, and publishes."""

    def release(self) -> None:
        """Hands the model its weights in the format that they came in, when the run ends, however it ends. May be called twice."""
