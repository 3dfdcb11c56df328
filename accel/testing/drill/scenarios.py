"""The scenarios of a drill: the ways in which a run is struck."""

from __future__ import annotations

import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import monotonic

from accel.errors import Interrupted
from accel.testing.drill import update_log
from accel.testing.drill.attempt import kill
from accel.testing.drill.damage import damage
from accel.testing.drill.full_disk import FullDisk
from accel.testing.drill.struck_run import Body, DrillFailure, StruckRun, newest

__all__ = [
    "EARLY_EXIT_CODES",
    "MAX_STRIKES",
    "SCENARIOS",
    "corrupted",
    "full",
    "killed",
    "killed_behind",
    "killed_everywhere",
    "stopped",
    "worker",
]

MAX_STRIKES = 4
"""Strikes in one trial; then the run is left alone."""
EARLY_EXIT_CODES = (-signal.SIGTERM, -signal.SIGINT, 130)
"""The exit codes of a process that gets a signal before Python has come to the command line."""


def killed(trial: StruckRun) -> None:
    """Kill the run (SIGKILL) at random instants, the start included, until it is done."""
    for _ in range(MAX_STRIKES):
        process = trial.begin()
        if not process.strike(signal.SIGKILL, trial.instant()):
            trial.check_end(process, 0)
            return
        trial.strikes += 1
        if trial.check_end(process, -signal.SIGKILL, 0) == 0:  # it had ended just then
            return
    trial.finish()


def killed_everywhere(trial: StruckRun) -> None:
    """Kill the run (SIGKILL) after every update and in every evaluation, once in each, until it is done.

    Each process goes on from the newest checkpoint, and is killed at the first place that none before it has come to.
    """
    reached = (0, 0)
    while True:
        attempt = trial.begin(partial(killed_behind, trial.body, reached))
        if trial.check_end(attempt, -signal.SIGKILL, 0) == 0:
            return
        step, in_evaluation = update_log.read(trial.update_log).get("reached", reached)
        if (step, in_evaluation) <= reached:
            raise DrillFailure(f"somebody else killed a run that was to be killed behind update {reached[0]}")
        reached = (step, in_evaluation)
        trial.strikes += 1
        trial.events.append(f"killed {'in the evaluation after' if in_evaluation else 'after'} update {step}")


def killed_behind(body: Body, place: tuple[int, int], out: Path, resume: bool, log: Path) -> int:
    """Run the body in this process, and kill it at the first place behind the given one (`update_log.kill_behind`)."""
    update_log.kill_behind = place
    return body(out, resume, log)


def stopped(trial: StruckRun) -> None:
    """Send SIGTERM or SIGINT at random instants: the run must end with 75, and in time."""
    for _ in range(MAX_STRIKES):
        stop_signal = trial.rng.choice([signal.SIGTERM, signal.SIGINT])
        attempt = trial.begin()
        if not attempt.strike(stop_signal, trial.instant()):
            trial.check_end(attempt, 0)
            return
        trial.strikes += 1
        code = trial.check_end(attempt, Interrupted.STOPPED, 0, *EARLY_EXIT_CODES)  # 0 if it was done already
        seconds = attempt.ended - attempt.struck
        if seconds > trial.within:
            raise DrillFailure(f"{seconds:.1f} s from {stop_signal.name} to its end")
        if code == 0:
            return
        if code in EARLY_EXIT_CODES and trial.has_started():
            raise DrillFailure(f"{stop_signal.name} ended a run that had begun with exit code {code}")
        if code == Interrupted.STOPPED and "stopped by" not in attempt.output.decode(errors="replace"):
            raise DrillFailure(f"{stop_signal.name} ended it without a word")
    trial.finish()


def corrupted(trial: StruckRun) -> None:
    """Kill the run, and damage its newest checkpoint before it goes on: a damaged one must never be loaded."""
    for _ in range(2):
        attempt = trial.begin()
        attempt.strike(signal.SIGKILL, trial.instant())
        trial.check_end(attempt, -signal.SIGKILL, 0)
        file = newest(trial.out)
        if file is None:
            continue
        trial.strikes += 1
        trial.events.append(damage(file, trial.rng))
        if newest(trial.out) == file:
            raise DrillFailure(f"a damaged checkpoint would be loaded ({trial.events[-1]})")
    trial.finish()


def full(trial: StruckRun) -> None:
    """Let some writes fail for want of room: the run must go on, or end with a sentence, and leave no half-written file."""
    first, count = trial.rng.randrange(max(trial.writes, 1)), trial.rng.choice([1, 2, 5, 1 << 30])

    def body(out: Path, resume: bool, log: Path) -> int:
        disk = FullDisk(out, first, count)
        exit_code = trial.body(out, resume, log)
        log.with_name("failed").write_text(str(disk.failed))
        return exit_code

    attempt = trial.begin(body)
    trial.check_end(attempt, 0, 1, 2)
    trial.strikes += int((trial.folder / "failed").read_text())
    if b"Traceback" in attempt.output:
        raise DrillFailure(f"a full disk (write {first + 1}, {count} of them) ended in a traceback")
    if leftovers := [path.name for path in trial.out.rglob("*.tmp")]:
        raise DrillFailure(f"a full disk (write {first + 1}, {count} of them) left {leftovers[0]}")
    trial.finish()


def worker(trial: StruckRun) -> None:
    """Kill a process of the loader: the run must go on, or end and be resumed."""
    for _ in range(MAX_STRIKES):
        attempt = trial.begin()
        instant = attempt.started + trial.instant()
        while not attempt.wait(instant):
            if workers := attempt.child_processes():
                trial.strikes += kill(trial.rng.choice(workers))
                break
            instant = monotonic() + 0.05  # none is there yet, or just then
        if trial.check_end(attempt, 0, 1) == 0:
            return
    trial.finish()


SCENARIOS: dict[str, Callable[[StruckRun], None]] = {
    "kill": killed, "update": killed_everywhere, "term": stopped, "corrupt": corrupted, "disk": full, "worker": worker,
}  # fmt: skip
