"""Metrics: a watch that writes losses, metrics and times to files, and a report.

`metrics.jsonl` has a line for each update, `{"update", "epoch", "loss", "lr",
"samples"}`, with `"skipped"`, the number so far, if updates can be skipped. It
has one for each evaluation, `{"update", "epoch", "test_accuracy", ...}`.
Numbers that the loss logs stand in the line under their names.
`update` and `epoch` count from 1, and `samples` is the number consumed in all.
`loss` is the mean over the update's window, in the nine digits that tell every
float32 apart. JSON has no NaN and no infinity: such a number is `null`.

No line holds a time, so the file of a resumed run is, byte for byte, that of an
uninterrupted one. `curves.svg` is drawn from it at the end. On by default; a
run without a directory writes nothing.

`times.jsonl` has the times: a line for a moment, `{"update", "samples",
"seconds", "training", "waited", "memory"}`, ten a second at first and fewer
later. `report.html` shows all of it, with the plan, the machine and the result:
one file, written at the end, which loads nothing from anywhere. A run that a
signal or an error ends writes it too, with the reason.

Helps   always: it is the record of the run.
Hurts   nothing.
Costs   some microseconds per update on a CPU (benchmarks/trackers.py measures
        them), one small kernel on CUDA; it never waits for the device. Curves
        and report take half a second, once, at the end, which is no part of the
        run's time; the report alone a fifth.
Source  JSON Lines, jsonlines.org.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any

from torch import Tensor

from accel.device.run_facts.time_log import TimeLog
from accel.errors import ConfigError, Interrupted
from accel.parts.shared.trackers.line_log import reopen, valid_length
from accel.parts.shared.trackers.line_tracker import LineTracker
from accel.report.curves import Curves, draw, read
from accel.report.html.write_report import write_own_report, write_unfinished_report
from accel.report.record.run_files import METRICS, TIMES
from accel.system.append_log import AppendLog
from accel.system.call_stack import warn_user
from accel.system.disk_errors import is_disk_full

if TYPE_CHECKING:
    from accel.parts import Run

__all__ = ["FILE", "PICTURE", "Metrics", "json_number", "position"]

FILE, PICTURE = METRICS, "curves.svg"


@dataclass(eq=False)
class Metrics(LineTracker):
    """Watch that writes metrics.jsonl, times.jsonl, curves.svg and report.html.

    Args:
        every: updates in a block, which is read from the device and written at once.
        curves: draw curves.svg at the end.
        report: write report.html at the end.
    """

    curves: bool = True
    report: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self.numbers: Curves | None = None
        """The content of metrics.jsonl, once it has been read for the curves."""
        self.is_reported = False
        """Whether report.html has been written."""

    def open(self, run: Run) -> None:
        assert run.out is not None
        try:
            for name in (FILE, TIMES):
                AppendLog(run.out / name).close()  # which refuses a link or a pipe before it is read
        except OSError as error:
            raise ConfigError(f"cannot write {run.out / name}: {error.strerror}") from None
        self.clock, self.path, times = run.clock, run.out / FILE, run.out / TIMES
        data = times.read_bytes()
        kept = data[: valid_length(data, run.progress.step, True, position)]
        self.times = TimeLog(times, kept, run.clock, run.device)
        self.times.add(run.progress.step, run.progress.samples)
        self.log = reopen(self.path, position, run.progress.step, run.is_evaluated, self.waiting.encode())

    def after(self, step: int, loss: Tensor) -> None:
        super().after(step, loss)
        if self.losses is not None and self.clock.since >= self.times.next:
            self.times.add(step, self.progress.samples)

    def row(self, step: int) -> tuple[int, int, int]:
        return step, self.progress.epoch + 1, self.progress.samples

    def evaluated(self, epoch: float, metrics: dict[str, float]) -> None:
        if self.log is not None:
            self.take_pending()
            values = {self.run.tag(name, "_"): value if isfinite(value) else None for name, value in metrics.items()}
            self.log.write(json.dumps({"update": self.progress.step, "epoch": epoch, **values}).encode() + b"\n")
            self.flush()

    def ineffective_settings(self, run: Run) -> list[str]:
        return []  # it is on by default

    def end(self, result: Any) -> None:
        super().end(result)
        if self.log is None:
            return
        self.times.add(self.progress.step, self.progress.samples)
        if self.curves:
            with self.run.clock.stopped():  # a picture says nothing of how fast the run is
                self.draw_curves()

    def draw_curves(self) -> None:
        """Draw curves.svg. A name or a number that cannot be drawn is a warning: it must not take the result of a run."""
        self.numbers = read(self.path)
        try:
            draw(self.numbers, self.path.with_name(PICTURE))
        except OSError:
            raise
        except Exception as error:
            warn_user(f"{PICTURE} could not be drawn: {type(error).__name__}: {error}")

    def completed(self, result: Any) -> None:
        if self.log is not None and self.report:
            self.is_reported = True
            with self.run.clock.stopped():
                write_own_report(self.path.parent, result.summary(), self.numbers)

    def close(self) -> None:
        if self.log is None:
            return
        error = sys.exception()  # that ends the run: parts are closed on its way
        if error is not None:
            self.times.add(self.progress.step, self.progress.samples)
        super().close()
        wanted = self.report and not self.is_reported and self.path.exists()
        is_full = isinstance(error, OSError) and is_disk_full(error)
        if wanted and isinstance(error, Exception | Interrupted) and not is_full:
            write_unfinished_report(self.path.parent, self.run, error)

    def shut(self) -> None:
        super().shut()
        self.times.close()

    def write_updates(
        self, rows: list[Any], losses: list[float], skipped: Iterable[float | None], logged: list[dict[str, float]]
    ) -> None:
        """Write a block of updates."""
        assert self.log is not None
        self.log.write("".join(map(self.format_update, rows, losses, skipped, logged)).encode())
        self.flush()

    def format_update(self, row: tuple[int, int, int], loss: float, skipped: float | None, logged: dict[str, float]) -> str:
        """Return the line of one update in JSON. `json.dumps` and seventeen digits would take three times as long."""
        step, epoch, samples = row
        loss_text = json_number(loss)
        tail = "" if skipped is None else f', "skipped": {skipped:.0f}'
        tail += "".join(f", {json.dumps(name)}: {json_number(number)}" for name, number in logged.items())
        lr = f"{self.lr(step - 1):.9g}"
        return f'{{"update": {step}, "epoch": {epoch}, "loss": {loss_text}, "lr": {lr}, "samples": {samples}{tail}}}\n'


def json_number(number: float) -> str:
    """Return a number in nine digits as JSON has it; `null` for one that is not finite."""
    return f"{number:.9g}" if isfinite(number) else "null"


def position(line: bytes) -> tuple[int, bool]:
    """Return the update of a line, and whether it is that of the update itself: the other is that of an evaluation."""
    row = json.loads(line)
    return row["update"], "lr" in row
