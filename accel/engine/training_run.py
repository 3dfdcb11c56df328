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
from accel.data.batches.bad_samples import Ledger
from accel.data.batches.base import Batches
from accel.engine import run_directory as directory
from accel.engine.data_wait import Between
from accel.engine.finish import finish
from accel.engine.make_plan import Plan
from accel.engine.sandbox import trial
from accel.errors import ConfigError, Interrupted
from accel.parts import Progress, Run, Window
from accel.report.result import Result
from accel.system import atomic_files as disk


@dataclass
class Built(Run):
    """A run with everything that the loop asks for."""

    train: Batches = field(init=False)
    held_out: Batches | None = None
    saver: Saver = field(default_factory=NoSaver)
    before: int = 0
    """Samples that were consumed before this run went on."""
    limit: int | None = None
    """At most so many windows per epoch (1 for a dry run)."""
    plan: Plan = field(default_factory=Plan)
    began: dict[str, Any] = field(default_factory=dict)
    """Where the random generators were when the current epoch began."""
    new: list[Path] = field(default_factory=list)
    """The folders that were made for this run."""
    contents: dict[str, Any] = field(default_factory=dict)
    """What tells whether the data is the same, by split (`accel.checkpoints.identity.content`)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.between = Between(self.random)

    def ledgers(self) -> list[Ledger]:
        """What could not be read, of the training and of the held-out data."""
        return [batches.ledger for batches in (self.train, self.held_out) if batches is not None and batches.ledger is not None]

    def windows(self, epoch: int, start: int) -> Iterator[Window]:
        """The windows of `epoch`, from micro-batch `start` on. A signal that comes while one is waited for stops the run there.

        Several ranks make the update first: the others are in it already, and wait for what this one has not read.
        """
        if self.parts.parallel.world_size > 1:
            yield from self.read(epoch, start)
            return
        self.between.begin()
        yield from self.signals.each(self.read(epoch, start), self.between)
        if self.signals.cut:
            self.between.back()
            if self.progress.step == 0:
                raise Interrupted(self.signals.name)
            self.heed(self.progress)

    def read(self, epoch: int, start: int) -> Iterator[Window]:
        """The windows of `epoch` on the device, from micro-batch `start` on. Read inside out, this is the input pipeline."""
        parts = self.parts
        if start:  # what was consumed before is passed over with the random numbers that it was read with
            # the loaders' own generators stay where that leaves them: those saved may be further on, where batches are read ahead
            with self.random.kept(loaders=False):
                self.random.restore(self.began)
                batches = parts.loader.epoch(self.train, epoch, start)
        else:
            self.began = self.random.state()
            batches = parts.loader.epoch(self.train, epoch, start)
        windows = parts.transfer.windows(parts.group.windows(parts.prefetch.ahead(self.train.dealt(batches, start))))
        windows = parts.augment.windows(windows, epoch, start)
        yield from islice(windows, self.limit) if self.limit else windows

    def begin(self) -> None:
        """Tries out what is to be tried out, which no watch sees, and tells the watches that it begins."""
        self.clock.since, self.before = perf_counter(), self.progress.samples
        if self.limit is None:
            self.parts.probe.explore(self, lambda: trial(self))
            self.plan.facts |= self.parts.probe.notes()
        if self.out is not None:
            try:
                disk.write(self.out / "plan.json", json.dumps(self.plan.as_dict(), indent=1).encode())
                self.saver.go_back()
            except OSError as error:
                fix = "make room, or name another directory"
                raise ConfigError(f"out={self.out}: cannot write there ({disk.why(error)}); {fix}") from None
        for watch in self.watches:
            watch.begin(self)
        self.signals.at_once = False
        self.clock.since = perf_counter()

    def heed(self, progress: Progress) -> None:
        """Where a signal asked any rank to stop: saves the run as far as `progress`, tells the watches, and raises Interrupted."""
        if self.parts.parallel.agree(self.signals.asked is not None):
            self.saver.save(progress)
            unsaved = self.saver.settle()
            why = Interrupted(self.signals.name, progress.step, None if self.out is None else str(self.out), unsaved)
            for watch in self.watches:
                watch.stopped(why)
            raise why

    def proven(self) -> Path | None:
        return self.saver.proven()

    def discard(self) -> None:
        """Takes the run directory away again, where this run made it and not one update was done."""
        if self.out is not None and self.progress.step == 0:
            directory.unmake(self.out, self.new)

    def result(self, loss: Tensor | None) -> Result:
        """What the run came to, with everything written and every watch told."""
        return finish(self, loss)
