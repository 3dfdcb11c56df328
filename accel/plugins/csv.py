"""CSV: a watch that writes the curves of a run as a table, which every spreadsheet and pandas read.

`metrics.csv` in the run directory has a row for each update and one for each
evaluation, and a column for each name: `update`, `time` (seconds since 1970),
`train/loss`, then `train/learning_rate` and what else there is, such as
`val/accuracy`. A cell without a number is empty. Numbers have the nine digits
that tell every float32 apart; `nan` and `inf` are written so.

A resumed run cuts off the rows that an interrupted run wrote beyond the
checkpoint, so no point is there twice. A name that comes for the first time
adds a column behind the others: the file is then written anew, in one move.

Helps   looking at a run with other tools than accel's.
Hurts   nothing; a run without a directory writes nothing.
Costs   twice what `metrics` takes to write a block (benchmarks/trackers.py), and no
        package. It never waits for the device.
Source  RFC 4180.
Exact   The numbers are those of metrics.jsonl. A killed process loses a block
        of `every` updates at most, and a resumed run writes it again.
"""

from __future__ import annotations

import csv
from contextlib import suppress
from dataclasses import dataclass
from io import StringIO
from typing import TYPE_CHECKING, Any

from accel.parts.shared.trackers.line_log import reopen
from accel.parts.shared.trackers.line_tracker import LineTracker
from accel.parts.shared.trackers.tracker import LOSS, Point
from accel.system import atomic_files
from accel.system.append_log import AppendLog

if TYPE_CHECKING:
    from accel.parts import Run

__all__ = ["CSV", "FILE", "FIRST", "padded", "position"]

FILE = "metrics.csv"
FIRST = ["update", "time", LOSS]
"""Columns that every file begins with: by them a line tells what it is of."""


@dataclass(eq=False)
class CSV(LineTracker):
    """Tracker that writes metrics.csv, with the settings of `Tracker`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.columns: list[str] = []
        self.lacks_head = False
        """Whether the disk has not taken the line that names all columns; until it does, further lines are longer than it."""
        self.replaced: list[AppendLog] = []
        """Files that were replaced: the thread that writes checkpoints may still wait for one, and they are closed at the end."""

    def open(self, run: Run) -> None:
        assert run.out is not None
        path = run.out / FILE
        AppendLog(path).close()  # which refuses a link or a pipe before it is read
        first = path.read_bytes().partition(b"\n")[0] + b"\n"
        written = next(csv.reader([first.decode(errors="replace")]), [])
        head = len(first) if written[: len(FIRST)] == FIRST else 0
        if run.progress.step and (head or self.columns):
            self.columns = self.columns or written
            waiting = b"".join(padded(line, len(self.columns)) for line in self.waiting.encode().splitlines())
            self.log = reopen(path, position, run.progress.step, run.is_evaluated, waiting, head)
            self.lacks_head = self.columns != written
        else:
            self.log, self.columns, self.lacks_head = AppendLog(path, 0), FIRST, True
        self.flush()

    def write(self, point: Point) -> None:
        assert self.log is not None
        cells = {name: f"{value:.9g}" for name, value in point.values.items()}
        cells |= {"update": str(point.step), "time": f"{point.time:.3f}"}
        if new := [name for name in cells if name not in self.columns]:
            self.columns, self.lacks_head = [*self.columns, *new], True
        self.log.write((",".join(cells.get(name, "") for name in self.columns) + "\n").encode())

    def flush(self) -> None:
        if self.log is None:
            return
        self.log.flush()
        if self.lacks_head:
            with suppress(OSError):  # of which the log warns; the next flush tries again
                self.write_head()

    def write_head(self) -> None:
        """Write the file anew, under the names of all columns; further cells are empty. Raise OSError if it cannot be."""
        assert self.log is not None
        text, path = StringIO(), self.log.path
        csv.writer(text, lineterminator="\n").writerow(self.columns)
        lines = [line for line in path.read_bytes().splitlines() if not line.startswith(FIRST[0].encode())]
        atomic_files.write(path, text.getvalue().encode() + b"".join(padded(line, len(self.columns)) for line in lines))
        new, old = AppendLog(path), self.log
        new.write(b"".join(padded(line, len(self.columns)) for line in bytes(old.pending).splitlines()))
        self.replaced.append(old)
        self.log, self.lacks_head = new, False

    def state_dict(self) -> dict[str, Any]:
        """Return what a full disk did not take: lines, and the names of all columns."""
        state = super().state_dict()
        return {**state, "columns": self.columns} if self.lacks_head and self.columns else state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.columns = list(state.get("columns", []))

    def shut(self) -> None:
        super().shut()
        for log in self.replaced:
            log.file.close()
        self.replaced = []


def padded(line: bytes, columns: int) -> bytes:
    """Return a row with a cell for each column, and the end of its line. No cell has a comma in it."""
    return line + b"," * (columns - 1 - line.count(b",")) + b"\n"


def position(line: bytes) -> tuple[int, bool]:
    """Return the update of a row, and whether it is that of the update itself, which has a loss."""
    update, _, loss = line.split(b",")[: len(FIRST)]
    return int(update), bool(loss.strip())
