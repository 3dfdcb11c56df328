"""A drill: the same run, once left alone and many times struck."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from time import monotonic

from accel.errors import ConfigError
from accel.testing.drill import update_log
from accel.testing.drill.compare_runs import compare_runs
from accel.testing.drill.full_disk import FullDisk
from accel.testing.drill.scenarios import SCENARIOS
from accel.testing.drill.struck_run import Body, DrillFailure, StruckRun, describe_end

LOOK = 0.05
"""Seconds between two looks at the processes of the run that is left alone."""


@dataclass
class Report:
    """What came of one trial."""

    number: int
    strikes: int
    restarts: int
    """How often it began anew, for want of a whole checkpoint."""
    recoveries: list[float]
    failure: str = ""
    """What did not hold; empty where all did."""
    folder: Path | None = None
    """What is left of one that failed."""
    events: list[str] = field(default_factory=list)


class Drill:
    """A kind of drill on one configuration.

    Args:
        kind: of `KINDS`.
        body: trains.
        folder: for the runs; those that passed are removed.
        seed: of all that is drawn.
        within: seconds in which a run that is asked to stop must end, besides its slowest update.
    """

    def __init__(self, kind: str, body: Body, folder: Path, seed: int, within: float = 5.0) -> None:
        self.kind, self.body, self.folder, self.seed, self.within = kind, body, folder, seed, within
        self.seconds, self.slowest, self.writes, self.reference_difference, self.workers = 0.0, 0.0, 0, "", False

    def reference(self) -> None:
        """Runs it twice, left alone: what all trials are compared with, and whether that means anything.

        Raises:
            ConfigError: where it does not come to its end, or has nothing that this drill could strike.
        """
        for name in ("reference", "again"):
            trial = StruckRun(self.body, self.folder / name, Random(0), 0.0)
            try:
                attempt = trial.begin(self.count_writes if self.kind == "disk" else None)
                while not attempt.wait(monotonic() + LOOK):
                    self.workers = self.workers or bool(attempt.child_processes())
            except BaseException:  # Ctrl-C, which does not reach it: it is in a session of its own
                trial.close()
                raise
            if attempt.code != 0:
                raise ConfigError(f"the run does not come to its end when it is left alone ({describe_end(attempt)})")
            attempt.surviving_processes()
            self.seconds = attempt.ended - attempt.started
            self.slowest = max(self.slowest, update_log.read(trial.update_log).get("slowest", 0.0))
            if self.kind == "disk":
                self.writes = int((trial.folder / "writes").read_text())
        if self.kind == "worker" and not self.workers:
            raise ConfigError("the run begins no process that could be killed; add '+plugins=[workers]'")
        self.reference_difference = compare_runs(self.folder / "reference/run", self.folder / "again/run")
        shutil.rmtree(self.folder / "again")

    def count_writes(self, out: Path, resume: bool, path: Path) -> int:
        """The body, with its writes counted."""
        disk = FullDisk(out, 0, 0)
        code = self.body(out, resume, path)
        path.with_name("writes").write_text(str(disk.writes))
        return code

    def trials(self, numbers: range) -> Iterator[Report]:
        """Strikes as many runs, one after the other."""
        for number in numbers:
            yield self.trial(number)

    def trial(self, number: int) -> Report:
        """Strikes one run, and compares what it came to with the reference."""
        folder = self.folder / f"trial-{number}"
        rng = Random(f"{self.seed}/{self.kind}/{number}")
        trial = StruckRun(self.body, folder, rng, self.seconds, self.within + self.slowest, self.writes)
        failure = ""
        try:
            SCENARIOS[self.kind](trial)
            failure = compare_runs(trial.out, self.folder / "reference/run")
        except (DrillFailure, ConfigError) as error:
            failure = str(error)
        finally:
            trial.close()
        if not failure:
            shutil.rmtree(folder)
        elif trial.attempt is not None:
            (folder / "said.txt").write_bytes(trial.attempt.output)
        return Report(number, trial.strikes, trial.restarts, trial.recoveries, failure, folder if failure else None, trial.events)
