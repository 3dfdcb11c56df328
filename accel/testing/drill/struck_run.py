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

Body = Callable[[Path, bool, Path], int]
"""Trains into a run directory, where the flag says so with resume=auto; its `UpdateLog` writes to the second path.
Returns the exit code. It is called in a process of its own."""


class DrillFailure(Exception):
    """What did not hold, in words."""


class StruckRun:
    """A run directory, and the processes that come and go over it.

    Args:
        body: trains.
        folder: of the trial; the run directory is `run` in it.
        rng: draws when it is struck, and where.
        seconds: how long a run takes that nobody strikes.
        within: seconds, besides the slowest update, in which a run that was asked to stop must have stopped.
        writes: how many writes such a run makes.
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
        """What happened, a line each."""
        self.attempt: Attempt | None = None
        folder.mkdir(parents=True)

    def instant(self) -> float:
        """Seconds after the start of a process, at random over the length of a run."""
        return self.rng.uniform(0, self.seconds)

    def begin(self, body: Body | None = None) -> Attempt:
        """The next process, with resume=auto: it goes on where there is a whole checkpoint, and else begins anew."""
        again, found = self.out.exists(), None
        try:
            found = find("auto", self.out)
        except ConfigError:  # of several, none is whole: then it refuses to begin, and its user has to
            shutil.rmtree(self.out)
            again = False
        self.restarts += found is None and self.attempt is not None
        self.update_log.unlink(missing_ok=True)
        call = body or self.body
        self.attempt = Attempt(lambda: call(self.out, again, self.update_log))
        self.resumed = found is not None
        return self.attempt

    def check_end(self, attempt: Attempt, *codes: int) -> int:
        """Waits for its end, and checks what it left behind. Raises Failed for another exit code than these."""
        attempt.wait()
        assert attempt.code is not None
        first = update_log.read(self.update_log).get("first")
        if self.resumed and first:
            self.recoveries.append(first - attempt.started)
        self.events.append(f"{'resumed' if self.resumed else 'begun'}, ended with {attempt.code}")
        if attempt.code not in codes:
            raise DrillFailure(f"a run {'that was resumed ' if self.resumed else ''}ended with {describe_end(attempt)}")
        if left := attempt.surviving_processes():
            raise DrillFailure(f"{len(left)} processes outlived the run")
        return attempt.code

    def has_started(self) -> bool:
        """Whether the last process came so far as to build its run, or was forked, and so is beyond that from its start."""
        return self.update_log.exists() or not self.fresh

    def finish(self) -> None:
        """Lets it go on to its end."""
        self.check_end(self.begin(), 0)

    def close(self) -> None:
        """Ends what runs."""
        if self.attempt is not None:
            self.attempt.end()


def newest(out: Path) -> Path | None:
    """The checkpoint that a resumed run would begin with."""
    try:
        return find(str(out), None).file  # type: ignore[union-attr]
    except ConfigError:
        return None


def describe_end(attempt: Attempt) -> str:
    """Its exit code and the last line that it printed."""
    lines = attempt.output.decode(errors="replace").strip().splitlines()
    code = attempt.code or 0
    how = f"signal {-code}" if code < 0 else f"exit code {code}"
    return f"{how}: {lines[-1].strip()}" if lines else how
