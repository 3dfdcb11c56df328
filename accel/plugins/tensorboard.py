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

from dataclasses import dataclass
from time import time, time_ns
from typing import TYPE_CHECKING, Any, ClassVar

from accel.parts.shared.trackers.tracker import Point, Tracker
from accel.system.append_log import AppendLog
from accel.system.machine import Need

if TYPE_CHECKING:
    from accel.parts import Run

__all__ = ["FOLDER", "TensorBoard"]

FOLDER = "tensorboard"


@dataclass(eq=False)
class TensorBoard(Tracker):
    """Tracker that writes the files which tensorboard reads, with the settings of `Tracker`."""

    needs: ClassVar[tuple[Need, ...]] = (Need("package:tensorboard", extra="tensorboard"),)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.log: AppendLog | None = None
        """Open file of the events; None if nothing is written."""
        self.last: dict[str, float] = {}
        """The last update's numbers, with its `step` and `time`: a resumed run may have to write them again."""

    def open(self, run: Run) -> None:
        from tensorboard.summary.writer.record_writer import RecordWriter

        assert run.out is not None
        folder = run.out / FOLDER
        folder.mkdir(exist_ok=True)
        # tensorboard reads the files of a directory in the order of their names
        self.log = AppendLog(folder / f"events.out.tfevents.{time_ns():020d}.update-{run.progress.step:08d}")
        self.records = RecordWriter(self.log)
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
            self.write(Point(int(values.pop("step")), values.pop("time"), values))

    def write(self, point: Point) -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary

        if not point.evaluation:
            self.last = {"step": point.step, "time": point.time, **point.values}
        points = [Summary.Value(tag=name, simple_value=value) for name, value in point.values.items()]
        self.write_event(point.time, point.step, summary=Summary(value=points))

    def write_event(self, when: float, step: int, **content: Any) -> None:
        """Write an event of tensorboard. `when` is in seconds since 1970."""
        from tensorboard.compat.proto.event_pb2 import Event

        self.records.write(Event(wall_time=when, step=step, **content).SerializeToString())

    def flush(self) -> None:
        if self.log is not None:
            self.log.flush()

    def state_dict(self) -> dict[str, Any]:
        """Return the numbers of the last update, after writing those that are pending."""
        self.take_pending()
        return dict(self.last)

    def sync(self) -> None:
        """Wait until the points that a checkpoint relies on are on the disk, before the checkpoint is."""
        if self.log is not None:
            self.log.sync()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.last = dict(state)

    def shut(self) -> None:
        if self.log is not None:
            self.log.close()
            self.log = None
