"""The times of a run's updates, for a drill that watches from another process."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any
from weakref import ref

from torch import Tensor

from accel.parts import Watch

if TYPE_CHECKING:
    from accel.parts import Run

__all__ = ["UpdateLog", "kill_behind", "read"]

kill_behind: tuple[int, int] | None = None
"""Where a drill has this process killed: at the first place behind it, a number of updates and 0, or 1 for the evaluation there.

None kills it nowhere. A drill sets it in the process of the run.
"""


@dataclass(eq=False)
class UpdateLog(Watch):
    """A watch that writes when the first update was done; and at the end, how long the slowest took.

    Where a drill has set `kill_behind`, it kills the process, and has written where.

    Args:
        path: the file, outside of the run directory.
    """

    path: str = ""

    def begin(self, run: Run) -> None:
        """Start the clock."""
        self.run, self.slowest, self.last = ref(run), 0.0, monotonic()
        self.first = 0.0
        self.reached = (0, 0)

    def after(self, step: int, loss: Tensor) -> None:
        """Measure the update."""
        now = monotonic()
        self.slowest, self.last = max(self.slowest, now - self.last), now
        if not self.first:
            self.first = now
            self.write()
        self.pass_by((step, 0))

    def evaluated(self, epoch: float, metrics: dict[str, float]) -> None:
        """Be in an evaluation, of which nothing is saved yet."""
        run = self.run()
        if run is not None:
            self.pass_by((run.progress.step, 1))

    def pass_by(self, place: tuple[int, int]) -> None:
        """Kill this process if the place lies behind `kill_behind`, as soon as its last checkpoint is written: it goes on there."""
        if kill_behind is None or place <= kill_behind:
            return
        saver = getattr(self.run(), "saver", None)
        if saver is not None:
            saver.wait()
        self.reached = place
        self.write()
        os.kill(os.getpid(), signal.SIGKILL)

    def end(self, result: Any) -> None:
        """Write the times."""
        self.write()

    def write(self) -> None:
        """Write both times, monotonic seconds, and the place where the process is killed."""
        Path(self.path).write_text(json.dumps({"first": self.first, "slowest": self.slowest, "reached": self.reached}))


def read(path: Path) -> dict[str, Any]:
    """Return what was written; empty if nothing was, or not to the end."""
    try:
        times: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return times


if not TYPE_CHECKING:
    from accel.system.deprecation.old_paths import deprecated_names

    __getattr__ = deprecated_names(__name__, {"Pulse": "UpdateLog"})
