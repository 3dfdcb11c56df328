"""The update of one of several objectives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from accel.errors import ConfigError
from accel.parts import Average, Grads, Parallel, Run, Update, Window
from accel.parts.mean import WindowMean
from accel.parts.shared.independent_ranks import IndependentRanks

__all__ = ["ObjectiveUpdate", "StepRecord", "shared_window"]


@dataclass(eq=False)
class StepRecord(Average):
    """Record of whether the last step moved anything, in place of an average of this objective alone."""

    skipped: ClassVar[Tensor | None] = None
    """1 if the last update of the objective moved nothing, else 0: 0-dim on the device; None if none can be skipped."""

    def update(self, grads: Grads) -> None:
        self.skipped = grads.found_inf  # type: ignore[misc]


@dataclass(eq=False)
class ObjectiveUpdate(Update):
    """Update of the parameters of one objective. Those of the others get no gradient.

    Gradients of several ranks are averaged after the last backward pass: torch's reducer waits for those of all parameters. Where
    the ranks share the weights, each backward pass reduces those that it has computed.
    """

    def setup(self, run: Run) -> None:
        super().setup(run)
        self.average = StepRecord()
        self.ranks = IndependentRanks(run)
        self.precision.gradient_leaves = self.parallel.gradient_leaves  # type: ignore[method-assign]
        self.is_used = False
        """Whether a backward pass has reached a parameter of the objective."""

    def __call__(self, window: Window) -> Tensor:
        mean = WindowMean(self.parallel)
        self.collect(window.micros, mean)
        if not self.is_used:
            self.check_use()
        if self.parallel.mesh is None:
            self.ranks.exchange({}, failed=False)
            self.ranks.average_gradients()
        return self.move(mean)

    def check_use(self) -> None:
        """Raise ConfigError if the loss has left all parameters of the objective without a gradient."""
        self.is_used = any(param.grad is not None for _, param in self.precision.params)
        if not self.is_used:
            name = self.precision.params[0][0]
            raise ConfigError(
                f"its loss does not use {name} or any other of its parameters; give it those that the loss depends on"
            )


def shared_window(window: Window, objectives: int, parallel: Parallel) -> Window:
    """Return a window for several objectives, each of which iterates over it.

    Args:
        window: the window, which can be iterated over once.
        objectives: how many there are. For one alone its micro-batches come one by one.
        parallel: the ranks: where each has all weights, gradients travel in none of the backward passes.
    """
    micros = window.micros
    if parallel.world_size > 1 and parallel.mesh is None:
        micros = (micro._replace(last=False) for micro in micros)
    return window._replace(micros=micros if objectives == 1 else tuple(micros))
