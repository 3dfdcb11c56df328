"""The times of a run's updates, for a drill that watches from another process."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from torch import Tensor

from accel.parts import Watch

if TYPE_CHECKING:
    from accel.parts import Run

__all__ = ["UpdateLog", "read"]


@dataclass(eq=False)
class UpdateLog(Watch):
    """A watch that writes when the first update was done; and at the end, how long the slowest took.

    Args:
        path: the file, outside of the run directory.
    """

    path: str = ""

    def begin(self, run: Run) -> None:
        """Start the clock."""
        self.slowest, self.last = 0.0, monotonic()
        self.first = 0.0

    def after(self, step: int, loss: Tensor) -> None:
        """Measure the update."""
        now = monotonic()
        self.slowest, self.last = max(self.slowest, now - self.last), now
        if not self.first:
            self.first = now
            self.write()

    def end(self, result: Any) -> None:
        """Write the times."""
        self.write()

    def write(self) -> None:
        """Write both times, monotonic seconds."""
        Path(self.path).write_text(json.dumps({"first": self.first, "slowest": self.slowest}))


def read(path: Path) -> dict[str, float]:
    """Return the written times; empty if nothing was written, or not to the end."""
    try:
        times: dict[str, float] = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return times


if not TYPE_CHECKING:
    from accel.system.deprecation.old_paths import deprecated_names

    __getattr__ = deprecated_names(__name__, {"Pulse": "UpdateLog"})
