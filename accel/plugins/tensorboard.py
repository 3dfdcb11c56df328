"""TensorBoard: the run's curves in tensorboard, while it runs and afterwards.

Written to `tensorboard/` in the run directory: for each update the loss, the
learning rate and, where updates can be skipped, how many were; for each block
of updates the samples per second and the share of the time spent waiting for
data; for each evaluation its metrics. The step is the update. A resumed run
goes on in a file of its own, and takes back what an interrupted one wrote
beyond the checkpoint, so no point is drawn twice. Look at it with
`tensorboard --logdir outputs`.

Helps   comparing runs side by side; watching one from afar.
Hurts   nothing; a run without a directory writes nothing.
Costs   ten microseconds per update on a CPU, one small kernel on CUDA, and 40
        microseconds per update on the host when a block is written; it never
        waits for the device. A tenth of a second to import.
Source  https://www.tensorflow.org/tensorboard
Exact   Losses reach the file in blocks of `every` updates and at each
        evaluation and checkpoint: a killed process loses one block of curves
        at most. It writes with tensorboard's own record writer and without the
        thread that `SummaryWriter` starts, whose lock a forked worker inherits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from time import time, time_ns
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

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
    """What is noted of an update beside its loss."""

    step: int
    time: float
    """Seconds since 1970."""
    mark: ThroughputMark


@dataclass(eq=False)
class TensorBoard(Watch):
    """Writes what tensorboard reads.

    Args:
        every: updates are read from the device and written in blocks of so many.
    """

    needs: ClassVar[tuple[Need, ...]] = (Need("package:tensorboard", extra="tensorboard"),)

    every: Count = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        self.file: Any = None
        """A Log; None where nothing is to be written."""
        self.last: dict[str, float] = {}
        """What was written of the last update, with its `step` and `time`: a resumed run may have to write it again."""

    def begin(self, run: Run) -> None:
        if run.out is None or run.parts.parallel.rank > 0:
            return
        from tensorboard.summary.writer.record_writer import RecordWriter

        self.run, self.lr, self.progress = run, run.parts.schedule.lr, run.progress
        folder = run.out / FOLDER
        folder.mkdir(exist_ok=True)
        # tensorboard reads the files of a directory in the order of their names
        self.file = AppendLog(folder / f"events.out.tfevents.{time_ns():020d}.update-{run.progress.step:08d}")
        self.records = RecordWriter(self.file)
        self.losses = LossLog(self.every, run.device, run.parts.guard.skipped, self.write)
        self.mark = ThroughputMark.now(run.clock, run.progress.samples)
        self.event(time(), 0, file_version="brain.Event:2")
        self.take_back()
        self.file.flush()

    def take_back(self) -> None:
        """Tells tensorboard to forget what a run that was interrupted wrote beyond the checkpoint that this one goes on from."""
        from tensorboard.compat.proto.event_pb2 import SessionLog

        step, evaluated = self.progress.step, self.progress.batch == 0
        # forgetting is by step: the evaluation after the last update, made again, goes only with that update's own points
        self.event(time(), step + evaluated, session_log=SessionLog(status=SessionLog.START))
        if not evaluated and self.last:
            values = dict(self.last)
            self.scalars(values.pop("time"), int(values.pop("step")), values)

    def after(self, step: int, loss: Tensor) -> None:
        if self.file is not None:
            self.losses.add(Row(step, time(), ThroughputMark.now(self.run.clock, self.progress.samples)), loss)

    def evaluated(self, epoch: int, metrics: dict[str, float]) -> None:
        if self.file is not None:
            self.losses.flush()
            self.scalars(
                time(), self.progress.step, {f"{self.run.evaluation_split}/{name}": value for name, value in metrics.items()}
            )
            self.file.flush()

    def write(self, rows: list[Row], losses: list[float], skipped: Iterable[float | None]) -> None:
        """Writes a block of updates."""
        for row, loss, lost in zip(rows, losses, skipped, strict=False):
            values = {"train/loss": loss, "train/learning_rate": self.lr(row.step - 1)}
            if lost is not None:
                values["train/skipped"] = lost
            if row is rows[-1]:
                values["train/samples_per_second"], values["train/data_wait_percent"] = row.mark.since(self.mark)
                self.mark = row.mark
                self.last = {"step": row.step, "time": row.time, **values}
            self.scalars(row.time, row.step, values)
        self.file.flush()

    def scalars(self, when: float, step: int, values: Mapping[str, float]) -> None:
        """Writes numbers by name, of one step."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        points = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        self.event(when, step, summary=Summary(value=points))

    def event(self, when: float, step: int, **what: Any) -> None:
        """Writes one of tensorboard's events."""
        from tensorboard.compat.proto.event_pb2 import Event

        self.records.write(Event(wall_time=when, step=step, **what).SerializeToString())

    def ineffective_settings(self, run: Run) -> list[str]:
        return [] if run.has_run_directory else ["tensorboard has no effect: nothing is written without out=DIR"]

    def state_dict(self) -> dict[str, Any]:
        """What was written last; what is pending must be on the disk by then."""
        if self.file is not None:
            self.losses.flush()
        return dict(self.last)

    def sync(self) -> None:
        """What the checkpoint takes to be in the file must be on the disk before the checkpoint is."""
        if self.file is not None:
            self.file.sync()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.last = dict(state)

    def end(self, result: Any) -> None:
        if self.file is not None:
            self.losses.flush()

    def close(self) -> None:
        if self.file is not None:
            self.losses.flush()
            self.file.close()
            self.file = None
