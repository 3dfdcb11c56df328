from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from accel.data.loaders.device_copy import moved
from accel.parts.part import Part
from accel.parts.window import Micro, Window
from accel.system.clock import TRANSFER

if TYPE_CHECKING:
    from accel.parts.run import Run


@dataclass(eq=False)
class Transfer(Part):
    """How a batch reaches the device; plainest: `.to(device)`, when its turn comes."""

    def identity(self) -> None:
        """Nothing."""

    def setup(self, run: Run) -> None:
        self.device, self.clock = run.device, run.clock

    def windows(self, windows: Iterator[Window]) -> Iterator[Window]:
        """The same windows with their micro-batches on the device. On a CPU they are there already."""
        if self.device.type == "cpu":
            return windows
        return (window._replace(micros=self._moved(window)) for window in windows)

    def batch(self, batch: Any) -> Any:
        """One batch on the device, with its structure kept (tuples, lists, dicts, named tuples; anything else as it is)."""
        return moved(batch, lambda tensor: tensor.to(self.device))

    def close(self) -> None:
        """Ends what copies ahead, when the run ends, however it ends."""

    def _moved(self, window: Window) -> Iterator[Micro]:
        for micro in window.micros:
            moved = micro._replace(batch=self.batch(micro.batch))
            self.clock.lap(TRANSFER)
            yield moved
