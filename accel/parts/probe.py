from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from accel.parts.part import Part
from accel.parts.window import Window

if TYPE_CHECKING:
    from accel.parts.run import Run

Trial = Callable[[], AbstractContextManager[Iterator[Window]]]
"""Opens a trial: inside, the windows of the training data, without end, may go through `run.parts.update`; afterwards all that
moved is back where it was, bit for bit: weights, buffers, the state of every part, random numbers, the position in the data."""


@dataclass(eq=False)
class Probe(Part):
    """What is tried out before the first update; plainest: nothing. It leaves the run as it was."""

    def identity(self) -> None:
        """Nothing."""

    def explore(self, run: Run, trial: Trial) -> None:
        """Called once, when the run is set up, or resumed, and before any watch has begun; not in a dry run."""

    def suggestions(self) -> dict[str, float]:
        """What came of it: settings by the name that they are set by, such as `onecycle.max_lr`, each with its value."""
        return {}
