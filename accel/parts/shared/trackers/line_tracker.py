"""Base of the trackers with a file of lines: what the disk refuses waits, and a resumed run goes on behind its last line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accel.parts.shared.trackers.tracker import Tracker
from accel.system.append_log import AppendLog

__all__ = ["LineTracker"]


@dataclass(eq=False)
class LineTracker(Tracker):
    """Tracker whose points are lines of a file, with the settings of `Tracker`. A subclass makes `log` in `open`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.log: AppendLog | None = None
        """Open file of the points; None if nothing is written."""
        self.waiting = ""
        """Lines of a resumed run that the disk had not taken by the checkpoint."""

    def flush(self) -> None:
        if self.log is not None:
            self.log.flush()

    def state_dict(self) -> dict[str, Any]:
        """Return the lines that a full disk did not take. A resumed run cuts the file off behind its last update."""
        if self.log is None:
            return {"waiting": self.waiting} if self.waiting else {}
        self.take_pending()
        self.flush()
        return {"waiting": self.log.pending.decode()} if self.log.pending else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.waiting = str(state.get("waiting", ""))

    def sync(self) -> None:
        """Wait until the lines that a checkpoint relies on are on the disk, before the checkpoint is."""
        if self.log is not None:
            self.log.sync()

    def end(self, result: Any) -> None:
        super().end(result)
        self.flush()
        if self.log is not None and self.log.incomplete_reason:
            result.unsaved[self.file_name(self.log.path)] = self.log.incomplete_reason

    def file_name(self, path: Path) -> str:
        """Return the name of a file of the run directory, relative to it."""
        return str(path.relative_to(self.run.out)) if self.run.out is not None else path.name

    def shut(self) -> None:
        if self.log is not None:
            self.log.close()
            self.log = None
