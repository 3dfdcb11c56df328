"""Learning rate: a factor on every rate that the user wrote, and the value set before each update."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from accel.errors import ConfigError
from accel.parts.part import Part
from accel.parts.run import Run

__all__ = ["Rate", "Schedule"]


@dataclass(eq=False)
class Rate(Part):
    """Factor on every learning rate that the user wrote, the optimiser's and a schedule's; plainest: 1."""

    factor = 1.0


@dataclass(eq=False)
class Schedule(Part):
    """Learning rate over the updates, a pure function of the update's index; plainest: constant.

    The index counts windows consumed, skipped updates among them, so a schedule always ends where it says. A schedule that also
    depends on the metrics of evaluations keeps what it needs of them in its state (`Part.evaluated`).
    """

    follows_length = False
    """Whether it depends on the number of updates of the whole run, so that a resumed run must have as many."""
    follows_evaluations: ClassVar[bool] = False
    """Whether it depends on the metrics of evaluations, so that a resumed run must make the same."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "follows_length" not in vars(cls) and Schedule in cls.__bases__:
            cls.follows_length = True  # unless it says otherwise

    def setup(self, run: Run) -> None:
        self.optim, self.updates = run.parts.optim, run.updates
        self.base = self.optim.lr * self.optim.scale

    def total(self) -> int:
        """Return the number of updates of the whole run. Raise ConfigError if nothing tells it."""
        if self.updates is None:
            raise ConfigError(
                f"{self.name} needs the number of updates, which neither max_seconds nor data without a length tells; set updates"
            )
        return self.updates

    def span(self, length: float) -> int:
        """Return a length in updates. Below 1 it is given as a share of the whole run, from 1 on as a number of updates."""
        return round(length * self.total() if length < 1 else length)

    def lr(self, step: int) -> float:
        """Return the learning rate of update `step`, from 0."""
        return self.base

    def apply(self, step: int) -> None:
        """Set the learning rate for update `step`, from 0."""

    def capture_blocker(self) -> str:
        return ""  # it acts before the update, through the optimiser

    def plan_notes(self) -> Mapping[str, str]:
        return {"learning rate": f"{self.base:g}, constant"}
