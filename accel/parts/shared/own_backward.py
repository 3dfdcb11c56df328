"""Losses that call backward() themselves, refused in their first call: each gradient would count twice."""

from __future__ import annotations

from typing import Any
from weakref import ref

import torch
from torch import nn

from accel.errors import ConfigError
from accel.parts.precision import Precision
from accel.parts.update import Objective

__all__ = ["OWN_BACKWARD", "FirstLoss"]

OWN_BACKWARD = (
    "loss(model, batch) calls backward() itself, and the update calls it too, so that gradients would count twice; return the "
    "loss, and leave backward() out"
)


class FirstLoss:
    """The loss of an objective up to the end of its first call in training, in which it must leave no gradients.

    Then the objective has the loss itself again, so no later call costs anything. `torch.autograd.grad`, as for the penalty on a
    gradient, leaves none.

    Args:
        objective: the objective, set up.
        precision: knows the tensors that the optimiser moves.
    """

    def __init__(self, objective: Objective, precision: Precision) -> None:
        self.objective, self.loss, self.precision = ref(objective), objective.loss, precision  # no circle: the objective has this
        objective.loss = self

    def __call__(self, model: nn.Module, batch: Any) -> Any:
        """Return what the loss does. Raise ConfigError if gradients have come meanwhile."""
        if not torch.is_grad_enabled():
            return self.loss(model, batch)
        before = [param for _, param in self.precision.params if param.grad is None]
        output = self.loss(model, batch)
        if any(param.grad is not None for param in before):
            raise ConfigError(OWN_BACKWARD)
        if (objective := self.objective()) is not None:
            objective.loss = self.loss
        return output
