"""TensorBoard: a watch that writes the curves of a run for tensorboard.

The files go to `tensorboard/` in the run directory. For each update: the loss,
the numbers that it logs, the learning rate and, if updates can be skipped, how
many were. For each block
of updates: the samples per second and the share of the time spent waiting for
data. For each evaluation: its metrics. The step is the update.

A resumed run goes on in a file of its own. It withdraws the points that an
interrupted run wrote beyond the checkpoint, so no point is drawn twice. Look at
the curves with `tensorboard --logdir outputs`.

Helps   comparing runs side by side; watching one from afar.
Hurts   nothing; a run without a directory writes nothing.
Costs   ten microseconds per update on a CPU, one small kernel on CUDA, and 40
        microseconds per update on the host when a block is written. It never
        waits for the device. A tenth of a second to import.
Source  https://www.tensorflow.org/tensorboard
Exact   Losses reach the file in blocks of `every` updates and at each
        evaluation and checkpoint: a killed process loses one block of curves at
        most. It writes with tensorboard's own record writer, and without the
        thread that `SummaryWriter` starts, whose lock a forked worker inherits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from time import time, time_ns
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple
from weakref import proxy

from torch import Tensor

from accel.device.loss_log import LossLog
from accel.parts import Watch
from accel.system.append_log import AppendLog
from accel.system.clock import ThroughputMark
from accel.system.machine import Need
from accel.values import Count

if TYPE_CHECKING:
    from accel.parts import Run

__all__ = ["FOLDER", "Row", "TensorBoard"]

FOLDER = "tensorboard"


class Row(NamedTuple):
    """Number, time and throughput of an update, noted beside its loss."""

    step: int
    time: float
    """Seconds since 1970."""
    mark: ThroughputMark


@dataclass(eq=False)
class TensorBoard(Watch):
    """Watch that writes the files which tensorboard reads.

    Args:
        every: updates in a block, which is read from the device and written at once.
    """

    needs: ClassVar[tuple[Need, ...]] = (Need("package:tensorboard", extra="tensorboard"),)

    every: Count = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        self.log: AppendLog | None = None
        """Open file of the events; None if nothing is written."""
        self.last: dict[str, float] = {}
        """The last update's numbers, with its `step` and `time`: a resumed run may have to write them again."""

    def begin(self, run: Run) -> None:
        if run.out is None or run.parts.parallel.rank > 0:
            return
        from tensorboard.summary.writer.record_writer import RecordWriter

        self.run, self.lr, self.progress = proxy(run), run.parts.schedule.lr, run.progress
        folder = run.out / FOLDER
        folder.mkdir(exist_ok=True)
        # tensorboard reads the files of a directory in the order of their names
        self.log = AppendLog(folder / f"events.out.tfevents.{time_ns():020d}.update-{run.progress.step:08d}")
        self.records = RecordWriter(self.log)
        self.losses = LossLog(self.every, run.device, run.parts.guard.skipped, self.write_updates)
        self.mark = ThroughputMark.now(run.clock, run.progress.samples)
        self.write_event(time(), 0, file_version="brain.Event:2")
        self.discard_later_points()
        self.log.flush()

    def discard_later_points(self) -> None:
        """Tell tensorboard to forget the points that an interrupted run wrote beyond the checkpoint of this one."""
        from tensorboard.compat.proto.event_pb2 import SessionLog

        step, evaluated = self.progress.step, self.run.is_evaluated
        # forgetting is by step: the evaluation after the last update, made again, goes only with that update's own points
        self.write_event(time(), step + evaluated, session_log=SessionLog(status=SessionLog.START))
        if not evaluated and self.last:
            values = dict(self.last)
            self.write_scalars(values.pop("time"), int(values.pop("step")), values)

    def after(self, step: int, loss: Tensor) -> None:
        if self.log is not None:
            row = Row(step, time(), ThroughputMark.now(self.run.clock, self.progress.samples))
            self.losses.add(row, loss, self.run.parts.update.logged)

    def evaluated(self, epoch: float, metrics: dict[str, float]) -> None:
        if self.log is not None:
            self.losses.flush()
            self.write_scalars(time(), self.progress.step, {self.run.tag(name, "/"): value for name, value in metrics.items()})
            self.log.flush()

    def write_updates(
        self, rows: list[Row], losses: list[float], skipped: Iterable[float | None], logged: list[dict[str, float]]
    ) -> None:
        """Write a block of updates."""
        assert self.log is not None
        for row, loss, skipped_count, numbers in zip(rows, losses, skipped, logged, strict=False):
            values = {f"train/{name}": number for name, number in numbers.items()}
            values |= {"train/loss": loss, "train/learning_rate": self.lr(row.step - 1)}
            if skipped_count is not None:
                values["train/skipped"] = skipped_count
            if row is rows[-1]:
                values["train/samples_per_second"], values["train/data_wait_percent"] = row.mark.since(self.mark)
                self.mark = row.mark
                self.last = {"step": row.step, "time": row.time, **values}
            self.write_scalars(row.time, row.step, values)
        self.log.flush()

    def write_scalars(self, when: float, step: int, values: Mapping[str, float]) -> None:
        """Write the numbers of one step, by name. `when` is in seconds since 1970."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        points = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        self.write_event(when, step, summary=Summary(value=points))

    def write_event(self, when: float, step: int, **content: Any) -> None:
        """Write an event of tensorboard. `when` is in seconds since 1970."""
        from tensorboard.compat.proto.event_pb2 import Event

        self.records.write(Event(wall_time=when, step=step, **content).SerializeToString())

    def ineffective_settings(self, run: Run) -> list[str]:
        return [] if run.has_run_directory else ["tensorboard has no effect: nothing is written without out=DIR"]

    def state_dict(self) -> dict[str, Any]:
        """Return the numbers of the last update, after writing those that are pending."""
        if self.log is not None:
            self.losses.flush()
        return dict(self.last)

    def sync(self) -> None:
        """Wait until the points that a checkpoint relies on are on the disk, before the checkpoint is."""
        if self.log is not None:
            self.log.sync()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.last = dict(state)

    def end(self, result: Any) -> None:
        if self.log is not None:
            self.losses.flush()

    def close(self) -> None:
        if self.log is not None:
            self.losses.flush()
            self.log.close()
            self.log = None
