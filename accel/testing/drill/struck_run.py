"""One run that is struck again and again, until it is done."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random

from accel.checkpoints import find
from accel.errors import ConfigError
from accel.testing.drill import update_log
from accel.testing.drill.attempt import Attempt

__all__ = ["Body", "DrillFailure", "StruckRun", "describe_end", "newest"]

Body = Callable[[Path, bool, Path], int]
"""Trains into a run directory, with resume=auto if the flag is set, and returns the exit code. Its `UpdateLog` writes to the last
path. It is called in a process of its own.
"""


class DrillFailure(Exception):
    """A broken promise, in words."""


class StruckRun:
    """A run directory, and the processes that come and go over it.

    Args:
        body: trains.
        folder: of the trial; the run directory is `run` in it.
        rng: draws the instants and places of the strikes.
        seconds: the duration of a run that nobody strikes.
        within: seconds, besides the slowest update, in which a run that was asked to stop must have stopped.
        writes: the number of writes of such a run.
    """

    def __init__(self, body: Body, folder: Path, rng: Random, seconds: float, within: float = 5.0, writes: int = 0) -> None:
        self.body, self.folder, self.rng = body, folder, rng
        self.seconds, self.within, self.writes = seconds, within, writes
        self.out, self.update_log = folder / "run", folder / "pulse.json"
        self.fresh = getattr(body, "fresh", False)
        self.strikes = self.restarts = 0
        self.recoveries: list[float] = []
        """Seconds from the start of each process that went on to the end of its first update."""
        self.events: list[str] = []
        """The events of the trial, a line each."""
        self.attempt: Attempt | None = None
        folder.mkdir(parents=True)

    def instant(self) -> float:
        """Return seconds after the start of a process, at random over the length of a run."""
        return self.rng.uniform(0, self.seconds)

    def begin(self, body: Body | None = None) -> Attempt:
        """Start the next process, with resume=auto: it goes on from a whole checkpoint, or else begins again from the start."""
        resumes, checkpoint = self.out.exists(), None
        try:
            checkpoint = find("auto", self.out)
        except ConfigError:  # there are several, and none is whole: the run refuses to begin, and its user removes them
            shutil.rmtree(self.out)
            resumes = False
        self.restarts += checkpoint is None and self.attempt is not None
        self.update_log.unlink(missing_ok=True)
        chosen_body = body or self.body
        attempt = Attempt(lambda: chosen_body(self.out, resumes, self.update_log), self._keep)
        self.resumed = checkpoint is not None
        return attempt

    def _keep(self, attempt: Attempt) -> None:
        self.attempt = attempt

    def check_end(self, attempt: Attempt, *codes: int) -> int:
        """Wait for the end of a process, check the state that it leaves, and return its exit code.

        Raises:
            DrillFailure: for an exit code that is not in `codes`, or for processes that survive it.
        """
        attempt.wait()
        assert attempt.code is not None
        first = update_log.read(self.update_log).get("first")
        if self.resumed and first:
            self.recoveries.append(first - attempt.started)
        self.events.append(f"{'resumed' if self.resumed else 'begun'}, ended with {attempt.code}")
        if attempt.code not in codes:
            raise DrillFailure(f"a run {'that was resumed ' if self.resumed else ''}ended with {describe_end(attempt)}")
        if survivors := attempt.surviving_processes():
            raise DrillFailure(f"{len(survivors)} processes outlived the run")
        return attempt.code

    def has_started(self) -> bool:
        """Return whether the last process came so far as to build its run. A forked one is beyond that from its start."""
        return self.update_log.exists() or not self.fresh

    def finish(self) -> None:
        """Let the run go on to its end."""
        self.check_end(self.begin(), 0)

    def close(self) -> None:
        """End the process that runs."""
        if self.attempt is not None:
            self.attempt.end()


def newest(out: Path) -> Path | None:
    """Return the checkpoint that a resumed run would begin with; None if there is none."""
    try:
        return find(str(out), None).file  # type: ignore[union-attr]
    except ConfigError:
        return None


def describe_end(attempt: Attempt) -> str:
    """Return the exit code of a process and the last line that it printed."""
    lines = attempt.output.decode(errors="replace").strip().splitlines()
    code = attempt.code or 0
    ending = f"signal {-code}" if code < 0 else f"exit code {code}"
    return f"{ending}: {lines[-1].strip()}" if lines else ending
