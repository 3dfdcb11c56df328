"""Base of the trackers: the points of a run, read from the device in blocks, on the first rank, if there is a run directory."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from time import time
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import proxy

from torch import Tensor

from accel.device.loss_log import LossLog
from accel.parts.watch import Watch
from accel.system.clock import ThroughputMark
from accel.values import Count

if TYPE_CHECKING:
    from accel.parts.run import Run

__all__ = ["LOSS", "Point", "Row", "Tracker"]

LOSS = "train/loss"


class Row(NamedTuple):
    """Number, time and throughput of an update, noted beside its loss."""

    step: int
    time: float
    """Seconds since 1970."""
    mark: ThroughputMark


@dataclass(frozen=True)
class Point:
    """Numbers of an update, or of the evaluation after it, by name."""

    step: int
    """Updates done, from 1."""
    time: float
    """Seconds since 1970."""
    values: dict[str, float] = field(default_factory=dict)
    evaluation: bool = False


@dataclass(eq=False)
class Tracker(Watch):
    """Watch that hands the points of a run to a tool that draws curves. A subclass has `open`, `write`, `flush` and `shut`.

    For each update: the loss, what it logs, the learning rate and, if updates can be skipped, how many were. For each block of
    updates: the samples per second, and the percentage of the time spent waiting for data. For each evaluation: its metrics. The
    device is read in blocks, and nothing waits for it. Ranks above 0, and a run without a directory, write nothing.

    `open` withdraws the points of an interrupted run that this one makes again, or has kept them back until now.

    Args:
        every: updates in a block, which is read from the device and written at once.
    """

    every: Count = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        self.losses: LossLog[Any] | None = None
        """The losses that are on their way; None if nothing is written."""

    def open(self, run: Run) -> None:
        """Make ready to write behind update `run.progress.step`. Called once, for a run with a directory, on the first rank."""
        raise NotImplementedError

    def write(self, point: Point) -> None:
        """Take a point; they come in order."""
        raise NotImplementedError

    def flush(self) -> None:
        """Hand the points so far to the system, without waiting for it."""

    def shut(self) -> None:
        """Close what `open` has opened. Everything has been flushed."""

    def begin(self, run: Run) -> None:
        if run.out is None or run.parts.parallel.rank > 0:
            return
        self.run, self.lr, self.progress = proxy(run), run.parts.schedule.lr, run.progress
        self.open(run)
        self.losses = LossLog(self.every, run.device, run.parts.guard.skipped, self.write_updates)
        self.mark = ThroughputMark.now(run.clock, run.progress.samples)

    def after(self, step: int, loss: Tensor) -> None:
        if self.losses is not None:
            self.losses.add(self.row(step), loss, self.run.parts.update.logged)

    def row(self, step: int) -> Any:
        """Return what is noted beside the loss of an update, and given to `write_updates` with it."""
        return Row(step, time(), ThroughputMark.now(self.run.clock, self.progress.samples))

    def evaluated(self, epoch: float, metrics: dict[str, float]) -> None:
        if self.losses is not None:
            self.losses.flush()
            values = {self.run.tag(name, "/"): value for name, value in metrics.items()}
            self.write(Point(self.progress.step, time(), values, evaluation=True))
            self.flush()

    def write_updates(
        self, rows: list[Any], losses: list[float], skipped: Iterable[float | None], logged: list[dict[str, float]]
    ) -> None:
        """Write a block of updates."""
        for row, loss, skipped_count, numbers in zip(rows, losses, skipped, logged, strict=False):
            values = {f"train/{name}": number for name, number in numbers.items()}
            values |= {LOSS: loss, "train/learning_rate": self.lr(row.step - 1)}
            if skipped_count is not None:
                values["train/skipped"] = skipped_count
            if row is rows[-1]:
                values["train/samples_per_second"], values["train/data_wait_percent"] = row.mark.since(self.mark)
                self.mark = row.mark
            self.write(Point(row.step, row.time, values))
        self.flush()

    def ineffective_settings(self, run: Run) -> list[str]:
        return [] if run.has_run_directory else [f"{self.name} has no effect: nothing is written without out=DIR"]

    def take_pending(self) -> None:
        """Write the updates that are still on their way from the device."""
        if self.losses is not None:
            self.losses.flush()

    def end(self, result: Any) -> None:
        self.take_pending()

    def close(self) -> None:
        if self.losses is not None:
            self.take_pending()
            self.losses = None
            self.shut()
