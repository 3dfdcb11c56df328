"""Lines about jobs that run at the same time: what begins, what ends and how; what they print goes to a file of each."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from time import monotonic
from typing import Any

from accel.cli.exit_codes import INTERRUPTED
from accel.cli.job import Job
from accel.cli.parallel.job_process import JobProcess
from accel.errors import Interrupted
from accel.report.formatting import elapsed, metric, number
from accel.report.terminal import say
from accel.system.shell_quoting import command_line

__all__ = ["MOST", "JobLines", "outcome_of"]

MOST = 3
"""Metrics in the line of a job that is done."""


class JobLines:
    """Printer of lines about jobs, on standard error. A terminal shows the last line of each that runs, which renews itself.

    Args:
        log_name: file in each run directory of what the job prints.
        total: number of jobs; None if nobody knows it.
        noun: what a job is called.
    """

    def __init__(self, log_name: str, total: int | None = None, noun: str = "job") -> None:
        self.log_name, self.total, self.noun = log_name, total, noun
        self.began: dict[int, float] = {}
        self.live: Any = None

    def title(self, process: JobProcess) -> str:
        """Return what the job of a process is called."""
        return f"{self.noun} {process.number + 1}" + ("" if self.total is None else f" of {self.total}")

    def begin(self, process: JobProcess) -> None:
        """Print that a job begins."""
        self.began[process.number] = monotonic()
        self.print(f"{self.title(process)} begins: {command_line(process.job.config.overrides)}")

    def end(self, process: JobProcess) -> None:
        """Print how a job has ended, and all that it printed if that is kept nowhere."""
        taken, printed = elapsed(monotonic() - self.began[process.number]), process.take_printed()
        verb, details = outcome_of(process.job)
        place = f" ({process.job.out})" if process.job.out is not None else ""
        if verb != "is done" and process.is_kept:
            place = f"; what it printed is in {process.log}"
        self.print(f"{self.title(process)} {verb} after {taken}{details and ': '}{details}{place}")
        if not process.is_kept and printed.strip():
            self.print(printed.rstrip())

    def show(self, running: Sequence[JobProcess]) -> None:
        """Show the last line of each job that runs, on a terminal."""
        if not sys.stderr.isatty():
            return
        from rich.console import Group
        from rich.live import Live
        from rich.text import Text

        from accel.report.visible_console import VisibleConsole

        if self.live is None:
            console = VisibleConsole(stderr=True, markup=False, highlight=False)
            self.live = Live(console=console, auto_refresh=False, transient=True)
            self.live.start()
        rows = [Text(f"{self.title(each)}: {each.last_line()}", no_wrap=True, overflow="ellipsis") for each in running]
        self.live.update(Group(*rows), refresh=True)

    def print(self, text: str) -> None:
        """Print a text above what renews itself."""
        if self.live is None:
            say(text, file=sys.stderr, flush=True)
        else:
            self.live.console.print(text, soft_wrap=True)

    def close(self) -> None:
        """Take away what renews itself."""
        if self.live is not None:
            self.live.stop()
            self.live = None


def outcome_of(job: Job) -> tuple[str, str]:
    """Return how a job has ended, a verb, and its metrics or its error."""
    if job.code or job.error:
        stopped = job.code in (INTERRUPTED, Interrupted.STOPPED)
        return "stopped" if stopped else "failed", job.error.removeprefix("accel: error: ") or f"exit code {job.code}"
    split, metrics = job.summary.get("split", ""), job.summary.get("metrics") or {}
    values = [f"{metric(split, name)} {number(value)}" for name, value in list(metrics.items())[:MOST] if value is not None]
    return "is done", ", ".join(values)
