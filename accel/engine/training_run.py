"""A run that is ready to start: what the loop asks for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import Any

from torch import Tensor

from accel.checkpoints import NoSaver, Saver
from accel.data.batches.bad_samples import BadSampleLog
from accel.data.batches.base import Batches
from accel.engine import run_directory
from accel.engine.data_wait import DataWait
from accel.engine.finish import finish
from accel.engine.make_plan import Plan
from accel.engine.sandbox import sandbox
from accel.errors import ConfigError, Interrupted
from accel.parts import Progress, Run, Window
from accel.report.result import Result
from accel.system import atomic_files, disk_errors


@dataclass
class TrainingRun(Run):
    """A run with everything that the loop asks for."""

    train: Batches = field(init=False)
    held_out: Batches | None = None
    saver: Saver = field(default_factory=NoSaver)
    samples_at_start: int = 0
    """Samples that were consumed before this run went on."""
    max_windows: int | None = None
    """At most so many windows per epoch (1 for a dry run)."""
    plan: Plan = field(default_factory=Plan)
    epoch_rng_state: dict[str, Any] = field(default_factory=dict)
    """Where the random generators were when the current epoch began."""
    created_folders: list[Path] = field(default_factory=list)
    """The folders that were made for this run."""
    contents: dict[str, Any] = field(default_factory=dict)
    """What tells whether the data is the same, by split (`accel.checkpoints.identity.content`)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.data_wait = DataWait(self.random)

    def bad_sample_logs(self) -> list[BadSampleLog]:
        """What could not be read, of the training and of the held-out data."""
        return [
            batches.bad_sample_log
            for batches in (self.train, self.held_out)
            if batches is not None and batches.bad_sample_log is not None
        ]

    def windows(self, epoch: int, start: int) -> Iterator[Window]:
        """The windows of `epoch`, from micro-batch `start` on. A signal that comes while one is waited for stops the run there.

        Several ranks make the update first: the others are in it already, and wait for what this one has not read.
        """
        if self.parts.parallel.world_size > 1:
            yield from self.read(epoch, start)
            return
        self.data_wait.begin()
        yield from self.signals.interruptible(self.read(epoch, start), self.data_wait)
        if self.signals.interrupted:
            self.data_wait.restore()
            if self.progress.step == 0:
                raise Interrupted(self.signals.name)
            self.stop_if_requested(self.progress)

    def read(self, epoch: int, start: int) -> Iterator[Window]:
        """The windows of `epoch` on the device, from micro-batch `start` on. Read inside out, this is the input pipeline."""
        parts = self.parts
        if start:  # what was consumed before is passed over with the random numbers that it was read with
            # the loaders' own generators stay where that leaves them: those saved may be further on, where batches are read ahead
            with self.random.preserved(loaders=False):
                self.random.restore(self.epoch_rng_state)
                batches = parts.loader.epoch(self.train, epoch, start)
        else:
            self.epoch_rng_state = self.random.state()
            batches = parts.loader.epoch(self.train, epoch, start)
        windows = parts.transfer.windows(parts.group.windows(parts.prefetch.ahead(self.train.counted(batches, start))))
        windows = parts.augment.windows(windows, epoch, start)
        yield from islice(windows, self.max_windows) if self.max_windows else windows

    def begin(self) -> None:
        """Tries out what is to be tried out, which no watch sees, and tells the watches that it begins."""
        self.clock.since, self.samples_at_start = perf_counter(), self.progress.samples
        if self.max_windows is None:
            self.parts.probe.explore(self, lambda: sandbox(self))
            self.plan.facts |= self.parts.probe.plan_notes()
        if self.out is not None:
            try:
                atomic_files.write(self.out / "plan.json", json.dumps(self.plan.as_dict(), indent=1).encode())
                self.saver.drop_newer()
            except OSError as error:
                fix = "make room, or name another directory"
                raise ConfigError(f"out={self.out}: cannot write there ({disk_errors.disk_reason(error)}); {fix}") from None
        for watch in self.watches:
            watch.begin(self)
        self.signals.immediate = False
        self.clock.since = perf_counter()

    def stop_if_requested(self, progress: Progress) -> None:
        """Where a signal asked any rank to stop: saves the run as far as `progress`, tells the watches, and raises Interrupted."""
        if self.parts.parallel.vote(self.signals.requested is not None):
            self.saver.save(progress)
            unsaved = self.saver.wait()
            why = Interrupted(self.signals.name, progress.step, None if self.out is None else str(self.out), unsaved)
            for watch in self.watches:
                watch.stopped(why)
            raise why

    def newest_finite(self) -> Path | None:
        return self.saver.newest_finite()

    def discard(self) -> None:
        """Takes the run directory away again, where this run made it and not one update was done."""
        if self.out is not None and self.progress.step == 0:
            run_directory.remove_created(self.out, self.created_folders)

    def result(self, loss: Tensor | None) -> Result:
        """What the run came to, with everything written and every watch told."""
        return finish(self, loss)
