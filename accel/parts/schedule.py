from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from accel.parts.part import Part

if TYPE_CHECKING:
    from accel.parts.run import Run


@dataclass(eq=False)
class Schedule(Part):
    """The learning rate over the updates, a pure function of the update's index; plainest: constant.

    The index counts windows consumed, skipped updates among them, so a schedule always ends where it says.
    """

    def setup(self, run: Run) -> None:
        self.optim, self.base, self.updates = run.parts.optim, run.parts.optim.lr, run.updates

    def lr(self, step: int) -> float:
        """The learning rate of update `step`, from 0."""
        return self.base

    def apply(self, step: int) -> None:
        """Called before update `step`."""

    def notes(self) -> Mapping[str, str]:
        return {"learning rate": f"{self.base:g}, constant"}
