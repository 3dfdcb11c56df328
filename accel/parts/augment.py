from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from accel.parts.group import Window
from accel.parts.part import Part


@dataclass(eq=False)
class Augment(Part):
    """What happens to a batch on the device before the model sees it; plainest: nothing."""

    def windows(self, windows: Iterator[Window]) -> Iterator[Window]:
        """The same windows, augmented."""
        return windows
