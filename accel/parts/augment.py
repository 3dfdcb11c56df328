from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from accel.parts.part import Part
from accel.parts.window import Window


@dataclass(eq=False)
class Augment(Part):
    """What happens to a batch on the device before the model sees it; plainest: nothing."""

    @property
    def paced(self) -> bool:
        """Whether what it does depends on how long the run is."""
        return False

    def windows(self, windows: Iterator[Window], epoch: int, start: int) -> Iterator[Window]:
        """The same windows, augmented. The first micro-batch of the first of them is number `start` of `epoch`."""
        return windows
