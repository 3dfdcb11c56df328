"""Losses that call backward() themselves, refused in their first call: each gradient would count twice."""

from __future__ import annotations

from typing import Any
from weakref import ref

import torch
from torch import nn

from accel.engine.objectives.composite_parts import CompositeObjective
from accel.engine.training_run import TrainingRun
from accel.errors import ConfigError
from accel.parts import Objective, Precision
from accel.parts.update import OWN_BACKWARD

__all__ = ["FirstLoss", "watch_own_backward"]


def watch_own_backward(run: TrainingRun) -> None:
    """Let the first call of each loss refuse the run if it leaves gradients. Costs nothing after it."""
    objective = run.parts.objective
    for member in objective.members.values() if isinstance(objective, CompositeObjective) else [objective]:
        if hasattr(member, "loss"):  # the objective of another package may keep it elsewhere
            member.loss = FirstLoss(member, run.parts.precision)


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
