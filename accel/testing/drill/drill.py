"""A drill: one run, once left alone and many times struck."""

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

__all__ = ["LOOK", "Drill", "Report"]

LOOK = 0.05
"""Seconds between two looks at the processes of the run that is left alone."""


@dataclass
class Report:
    """The result of one trial."""

    number: int
    strikes: int
    restarts: int
    """How often it began again from the start, for want of a whole checkpoint."""
    recoveries: list[float]
    failure: str = ""
    """The promise that was broken; empty if all were kept."""
    folder: Path | None = None
    """The files that are left of a failed trial."""
    events: list[str] = field(default_factory=list)


class Drill:
    """A kind of drill on one configuration.

    Args:
        kind: a name in `SCENARIOS`.
        body: trains.
        folder: for the runs; trials that passed are removed.
        seed: of all random choices.
        within: seconds in which a run that is asked to stop must end, besides its slowest update.
    """

    def __init__(self, kind: str, body: Body, folder: Path, seed: int, within: float = 5.0) -> None:
        self.kind, self.body, self.folder, self.seed, self.within = kind, body, folder, seed, within
        self.seconds, self.slowest, self.writes, self.reference_difference, self.workers = 0.0, 0.0, 0, "", False
        self.left_alone = folder / "reference/run"
        """The run directory to which all trials are compared."""

    def reference(self, earlier: Drill | None = None) -> None:
        """Run the body twice, left alone: the run to which all trials are compared, and whether it is repeatable.

        Args:
            earlier: a drill of another kind on the same body, whose reference serves this one too, unless it must count writes.

        Raises:
            ConfigError: if it does not come to its end, or has nothing that this drill could strike.
        """
        if earlier is not None and self.kind != "disk":
            self.seconds, self.slowest, self.workers = earlier.seconds, earlier.slowest, earlier.workers
            self.reference_difference, self.left_alone = earlier.reference_difference, earlier.left_alone
        else:
            self._run_twice()
        if self.kind == "worker" and not self.workers:
            raise ConfigError("the run begins no process that could be killed; add '+plugins=[workers]'")

    def _run_twice(self) -> None:
        """Make the reference, and a second run which must equal it."""
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
        self.reference_difference = compare_runs(self.left_alone, self.folder / "again/run")
        shutil.rmtree(self.folder / "again")

    def count_writes(self, out: Path, resume: bool, path: Path) -> int:
        """Run the body, and count its writes."""
        disk = FullDisk(out, 0, 0)
        code = self.body(out, resume, path)
        path.with_name("writes").write_text(str(disk.writes))
        return code

    def trials(self, numbers: range) -> Iterator[Report]:
        """Strike a run for each number, one after the other, and yield the reports."""
        for number in numbers:
            yield self.trial(number)

    def trial(self, number: int) -> Report:
        """Strike one run, and compare its result with the reference."""
        folder = self.folder / f"trial-{number}"
        rng = Random(f"{self.seed}/{self.kind}/{number}")
        trial = StruckRun(self.body, folder, rng, self.seconds, self.within + self.slowest, self.writes)
        failure = ""
        try:
            SCENARIOS[self.kind](trial)
            failure = compare_runs(trial.out, self.left_alone)
        except (DrillFailure, ConfigError) as error:
            failure = str(error)
        finally:
            trial.close()
        if not failure:
            shutil.rmtree(folder)
        elif trial.attempt is not None:
            (folder / "said.txt").write_bytes(trial.attempt.output)
        return Report(number, trial.strikes, trial.restarts, trial.recoveries, failure, folder if failure else None, trial.events)
