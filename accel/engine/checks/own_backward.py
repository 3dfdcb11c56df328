"""Losses that call backward() themselves: refused in the first call of each."""

from __future__ import annotations

from accel.engine.objectives.composite_parts import CompositeObjective
from accel.engine.training_run import TrainingRun
from accel.parts.shared.own_backward import FirstLoss

__all__ = ["watch_own_backward"]


def watch_own_backward(run: TrainingRun) -> None:
    """Let the first call of each loss refuse the run if it leaves gradients. Costs nothing after it."""
    objective = run.parts.objective
    for member in objective.members.values() if isinstance(objective, CompositeObjective) else [objective]:
        if hasattr(member, "loss"):  # the objective of another package may keep it elsewhere
            FirstLoss(member, run.parts.precision)
