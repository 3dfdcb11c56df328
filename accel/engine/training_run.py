"""A run that is ready to start, with the questions that the loop asks."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import Any

from torch import Tensor

from accel.checkpoints import NoSaver, Saver
from accel.device.data_wait import DataWait
from accel.engine import run_directory
from accel.engine.advice.closing_verdict import closing_verdict, doctor_command
from accel.engine.advice.data_advice import data_flow
from accel.engine.checks.data_length import warn_of_length
from accel.engine.evaluation.batch_norm import DRY_BATCHES, estimated_statistics
from accel.engine.evaluation.evaluations import Evaluations
from accel.engine.fine_tuning.freezing import Freezing
from accel.engine.input_pipeline import input_pipeline
from accel.engine.length.run_length import RunLength
from accel.engine.make_plan import Plan
from accel.engine.shaping.shape_changes import change_shape
from accel.errors import ConfigError, Interrupted
from accel.parts import Progress, Run, Window
from accel.parts.shared.ranks.equal_epochs import equal_epochs
from accel.parts.shared.trained_parameters import follow_parameters
from accel.report.pace import PaceMeter
from accel.schema.settings import Settings
from accel.system import atomic_files, disk_errors

__all__ = ["TrainingRun"]


@dataclass
class TrainingRun(Run):
    """A run with everything that the loop asks for: windows, checkpoints, a plan, a way to stop."""

    saver: Saver = field(default_factory=NoSaver)
    samples_at_start: int = 0
    """Samples consumed before this run went on."""
    first_step: int = 0
    """Updates done before this run went on."""
    infinite_at_start: set[tuple[str]] = field(default_factory=set)
    """Buffers that are infinite before the first update, such as a mask, and may be so."""
    accepts_nonfinite: bool = False
    """Whether a run that ends with numbers that are not finite is done all the same (`resume.allow=[nonfinite]`)."""
    max_windows: int | None = None
    """Windows per epoch, at most: 1 in a dry run; None for all."""
    plan: Plan = field(default_factory=Plan)
    created_folders: list[Path] = field(default_factory=list)
    """Folders made for this run, the innermost first."""
    length_warned: bool = False
    """Whether the user knows that an epoch was not as long as the data says."""
    data_identity: dict[str, Any] = field(default_factory=dict)
    """Fingerprint of the data, by split (`accel.checkpoints.identity.content`)."""
    code: dict[str, str] = field(default_factory=dict)
    """Digests of the code that the user gave, by what it is for (`accel.checkpoints.code.code_digests`)."""
    rank_code: dict[str, str] = field(default_factory=dict)
    """The same of what every rank must have in common."""

    evaluations: Evaluations = field(init=False)
    """When the run evaluates."""
    length: RunLength = field(default_factory=lambda: RunLength(Settings()))
    """When the run ends."""
    freezing: Freezing = field(default_factory=Freezing)
    """Which parameters are not trained, and until when."""
    last_loss: Tensor | None = None
    """Mean loss of the last update, 0-dim on the device; None until this process has made one."""
    ended_within_epoch: bool = False
    """Whether the last update was one within an epoch, which is not done."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.data_wait = DataWait(self.random)
        self.pace_meter = PaceMeter(self.clock)

    def begin(self) -> None:
        """Write the plan, and tell the watches that the run begins.

        Raises:
            ConfigError: if the run directory cannot be written to.
        """
        if self.out is not None:
            try:
                atomic_files.write(self.out / "plan.json", json.dumps(self.plan.as_dict(), indent=1).encode())
                self.saver.drop_newer()
            except OSError as error:
                fix = "make room, or name another directory"
                reason = disk_errors.disk_reason(error)
                raise ConfigError(f"out={self.out}: cannot write there ({reason}); {fix}") from None
        for watch in self.watches:
            watch.begin(self)
        self.is_ending = self.is_ending or self.parts.parallel.any(self.length.wants_end(self))
        self.pace_meter.begin(self.progress.step, self.progress.samples)
        self.signals.immediate = False
        self.clock.since = perf_counter()

    def epochs_left(self) -> Iterator[int]:
        """Yield the number of each epoch that is to be trained, or gone on with, from 0, until the run is over.

        A run that is resumed from the last update of an epoch goes on with its end, though it were the last of the run.
        """
        progress = self.progress
        while progress.epoch < self.epochs and (not self.length.is_reached(self) or 0 != progress.batch == self.batches):
            yield progress.epoch

    def windows(self, epoch: int, start: int) -> Iterator[Window]:
        """Yield the windows of `epoch`, from micro-batch `start` on, until the epoch ends or the run does.

        Trained parameters are compared before, and after the first update. Between two updates the model's shape may change, and
        frozen ones are thawed. What was read ahead of the end is given up.

        Raises:
            ConfigError: for parameters that came and cannot be trained.
        """
        self.change_model()
        follow_parameters(self)
        with closing(self._interruptible_windows(epoch, start)) as windows:
            if self.length.is_reached(self):
                self.ended_within_epoch = not self._is_whole(windows)
                return
            for window in windows:
                yield window
                del window  # its batches are memory that the next ones are read into
                if not self.updated:
                    follow_parameters(self, first_update=True)
                    self.updated = True
                if self.length.is_reached(self):
                    self.ended_within_epoch = not self._is_whole(windows)
                    return
                self.change_model()

    def change_model(self) -> None:
        """Change between two updates what is due: the model's shape, and which parameters are frozen."""
        if change_shape(self):
            self.freezing.follow(self)
            self.train_mode()
        self.freezing.thaw(self)

    def _is_whole(self, windows: Iterator[Window]) -> bool:
        """Return whether the epoch has ended with the last update."""
        return self.progress.batch == self.batches and next(windows, None) is None

    def _interruptible_windows(self, epoch: int, start: int) -> Generator[Window]:
        """Yield the windows of an epoch. A signal that comes during a wait stops the run there.

        Several ranks make the update first: the others are in it already, and wait for what this one has not read.
        """
        pipeline: Iterator[Window] = input_pipeline(self, epoch, start)
        if self.max_windows is not None:
            pipeline = islice(pipeline, self.max_windows)
        if self.parts.parallel.world_size > 1:
            yield from equal_epochs(self.parts.parallel, self.train, pipeline, lambda window: window.samples, "training")
            self.check_length(epoch)
            return
        self.data_wait.begin()
        yield from self.signals.interruptible(pipeline, self.data_wait)
        if self.signals.interrupted:
            self.data_wait.restore()
            if self.progress.step == 0:
                raise Interrupted(self.signals.name)
            self.stop_if_requested(self.progress)
        self.check_length(epoch)

    def check_length(self, epoch: int) -> None:
        """Warn, once a run, if the epoch that ends was not as long as the data says."""
        if self.max_windows is None and self.progress.batch and not self.length_warned and not self.ended_within_epoch:
            self.length_warned = warn_of_length(self, epoch)

    def catch_up(self) -> None:
        """Make the evaluation in which the run was interrupted, and save it if due; one at an epoch's end waits for that end."""
        if self.evaluations.was_interrupted(self):
            self.evaluations.evaluate(self)
            if self.saver.due(self.progress):
                self.saver.save(self.progress)

    def stop_if_requested(self, progress: Progress, before_evaluation: bool = False) -> None:
        """If a signal asked any rank to stop: save the run as far as `progress`, tell the watches, and raise Interrupted.

        `before_evaluation` says that the evaluation after its last update is still to be made (`Saver.save`).

        Ranks agree here, too, on whether the run ends with this update because one of them said so.
        """
        parallel = self.parts.parallel
        if parallel.vote(self.length.wants_end(self), topic="end") and not self.is_ending:
            self.is_ending = True
            self.stop_reason = next(filter(None, parallel.gather(self.stop_reason)), "")
        if parallel.vote(self.signals.requested is not None):
            self.saver.save(progress, before_evaluation=before_evaluation)
            unsaved = self.saver.wait()
            interruption = Interrupted(self.signals.name, progress.step, None if self.out is None else str(self.out), unsaved)
            for watch in self.watches:
                watch.stopped(interruption)
            raise interruption

    def train_mode(self, step: int | None = None) -> None:
        super().train_mode()
        self.freezing.hold_norms(self.progress.step if step is None else step)

    def length_state(self) -> dict[str, Any]:
        seconds = {} if self.length.max_seconds is None else {"seconds": self.length.seconds(self)}
        state = super().length_state()
        return {**state, **({"limits": self.length.given} if state else {}), **seconds}

    def load_length_state(self, state: dict[str, Any]) -> None:
        if state.get("limits", self.length.given) == self.length.given:  # given another length, a run that was stopped goes on
            super().load_length_state(state)
        self.length.seconds_before = float(state.get("seconds", 0.0))

    def batch_norm_statistics(self, batches: int | None, epoch: int, step: int) -> dict[str, Tensor]:
        return estimated_statistics(self, DRY_BATCHES if self.dry_run else batches, epoch, step)

    def newest_finite(self) -> Path | None:
        return self.saver.newest_finite()

    def add_times(self, result: Any) -> None:
        result.flow = data_flow(self, self.progress.samples - self.samples_at_start)
        result.seconds, result.shares = sum(self.clock.spent), self.clock.shares()
        result.pace, result.verdict = self.pace_meter.pace(), closing_verdict(self, result)
        result.doctor = doctor_command(self.command)

    def discard(self) -> None:
        """Remove the run directory, if this run made it and no update was done."""
        if self.out is not None and self.progress.step == 0:
            run_directory.remove_created(self.out, self.created_folders)
