"""Number formats of a training step."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from accel.parts.grads import Grads
from accel.parts.model_shape.replacement import Replacement
from accel.parts.parallel import NOTHING
from accel.parts.part import Part
from accel.parts.run import Run

__all__ = ["Precision"]


@dataclass(eq=False)
class Precision(Part):
    """Number formats in which a step computes; plainest: float32 throughout."""

    only: ClassVar[frozenset[str] | None] = None
    """Names of the parameters that it may train, where others belong to another objective; None for all."""

    def setup(self, run: Run) -> None:
        self.skipped: Tensor | None = None
        """Number of updates skipped, a 0-dim float32 on the device; None if none can be."""

    def parameters(self, model: nn.Module) -> list[tuple[str, Tensor]]:
        """Return the tensors for the optimiser, by name in the user's own model: the trainable parameters, or their masters."""
        self.trained_at_start = [name for name, _ in self.find_trained(model)]
        self.params: list[tuple[str, Tensor]] = list(self.trained)
        return self.params

    def find_trained(self, model: nn.Module) -> list[tuple[str, nn.Parameter]]:
        """Find the model's parameters that are trained now, or were before, by name, and keep them in `trained`.

        `known` are all parameters that the model has now, frozen ones included.
        """
        before = {id(param) for _, param in getattr(self, "trained", [])}
        self.known: list[tuple[str, nn.Parameter]] = list(model.named_parameters())
        own = [(name, param) for name, param in self.known if self.may_train(name)]
        self.trained = [(name, param) for name, param in own if param.requires_grad or id(param) in before]
        return self.trained

    def keep_trained(self, names: set[str]) -> None:
        """Forget all trained parameters but those of these names, until others are taken in."""
        self.trained = [(name, param) for name, param in self.trained if name in names]

    def may_train(self, name: str) -> bool:
        """Return whether a parameter of the model, given by name, is one of those that it may train."""
        return self.only is None or name in self.only

    def follow_parameters(self, run: Run) -> None:
        self.params = list(self.find_trained(run.unwrapped_model))

    def replaced(self, replacements: Sequence[Replacement]) -> Sequence[Replacement]:
        """Take parameters in place of others, and return the same of the tensors that the optimiser moves."""
        new = {id(replacement.old): replacement.new for replacement in replacements}
        self.trained = [(name, cast(nn.Parameter, new.get(id(param), param))) for name, param in self.trained]
        return replacements

    @property
    def is_narrow(self) -> bool:
        """Whether gradients pass through float16, which overflows above 65,504."""
        return any(param.dtype == torch.float16 for _, param in self.params)

    def cast(self) -> AbstractContextManager[None]:
        """Return a context for the forward pass and the loss, in training and in evaluation."""
        return NOTHING

    def backward(self, loss: Tensor, weight: Tensor) -> None:
        """Run the backward pass of one micro-batch, from `weight` (0-dim) instead of from 1, so that nothing is multiplied."""
        if self.only is None:
            loss.backward(weight)  # type: ignore[no-untyped-call]
        elif inputs := [param for _, param in self.trained if param.requires_grad]:
            loss.backward(weight, inputs=self.gradient_leaves(inputs))  # type: ignore[no-untyped-call]

    def gradient_leaves(self, params: Iterable[Tensor]) -> list[Tensor]:
        """Return the tensors in which a backward pass leaves the gradients of parameters, as `Parallel.gradient_leaves`."""
        return list(params)

    def gradients(self) -> Grads:
        """Return the gradients of the whole window, with the factor still to be applied."""
        device = self.params[0][1].device if self.params else None
        return Grads([param for _, param in self.params if param.grad is not None], device=device)

    def publish(self) -> None:
        """Copy the optimiser's weights to the model's own, if they differ (masters)."""

    def unrounded(self, value: Tensor) -> Tensor:
        """Return a tensor of the model as it is handed out: its master, where it has one, in the dtype that it came in."""
        return value

    def adapt(self, grads: Grads) -> None:
        """Update the loss scale, if there is one, and publish. Called after the step."""

    def release(self) -> None:
        """Give the model its weights in their original dtype, when the run ends, however it ends. May be called twice."""
