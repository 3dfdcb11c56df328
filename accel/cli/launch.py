"""Composed and checked jobs are run here: one, or several and a table that compares them."""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from accel.cli import run_directories, torchrun
from accel.cli.compose.config import Config
from accel.cli.exit_codes import INTERRUPTED, beside_the_work
from accel.cli.job import Job, program
from accel.errors import ConfigError, Interrupted
from accel.report.comparison import JobResult, comparison
from accel.report.terminal import say
from accel.report.visible_console import VisibleConsole
from accel.system.shell_quoting import command_line
from accel.system.stop_signals import StopSignals

__all__ = ["launch", "print_comparison", "require_launchable", "warm_up"]


def launch(configs: Sequence[Config], flags: Sequence[str], many: bool) -> int:
    """Run one job after the other; return the largest exit code.

    Args:
        configs: the jobs.
        flags: flags that a resumed run needs again.
        many: whether this is a multirun, whose jobs are numbered and compared.

    Raises:
        ConfigError: if the jobs cannot work in these processes.
    """
    beside_the_work()
    with StopSignals() as signals:
        require_launchable(configs, many)
        if many:
            warm_up(configs[0])
        jobs = _run_jobs(configs, flags, many, signals)
        if many and torchrun.rank() == 0:
            print_comparison(jobs)
        signals.requested = None  # a signal that came too late to stop a job must not end the process now
    return max(job.code for job in jobs)


def require_launchable(configs: Sequence[Config], many: bool) -> None:
    """Raise ConfigError if the processes would not train together, or would not find the run that they resume."""
    for config in configs:
        torchrun.require_parallel_plugin(config)
        torchrun.require_named_directory(config)
        if many and config.settings.resume == "auto" and config.settings.out is None:
            raise ConfigError("resume=auto takes one run, and these are several: add out=DIR, in which they began (job N is DIR/N)")


def _run_jobs(configs: Sequence[Config], flags: Sequence[str], many: bool, signals: StopSignals) -> list[Job]:
    """Run the jobs until one is interrupted; return those that were run. The arguments are those of `launch`."""
    base = Path(torchrun.agree_on_directory(str(run_directories.dated_directory(datetime.now()))))
    jobs: list[Job] = []
    for number, config in enumerate(configs):
        if many and torchrun.rank() == 0:
            say(f"\njob {number + 1} of {len(configs)}: {command_line(config.overrides)}", file=sys.stderr)
        out = run_directories.job_directory(config.settings, base, number if many else None)
        jobs.append(Job(config, out, [*program(), *flags]))
        if jobs[-1].run() in (INTERRUPTED, Interrupted.STOPPED) or signals.requested:
            break
    return jobs


def warm_up(config: Config) -> None:
    """Make one update of the first job, unseen: imports and threads would count as that job's time."""
    with warnings.catch_warnings(), suppress(Exception):  # the job itself reports its errors
        warnings.simplefilter("ignore")
        config.trainer(dry_run=True, out=None, resume=None, watch=()).fit()


def print_comparison(jobs: Sequence[Job]) -> None:
    """Print a table of the jobs: the overrides that one does not share with all others, and its results, over its seeds."""
    common = set.intersection(*(set(job.config.overrides) for job in jobs)) if len(jobs) > 1 else set()
    results = []
    for job in jobs:
        overrides = " ".join(word for word in job.config.overrides if word not in common and not re.match(r"\+*seed=", word))
        results.append(JobResult.of(overrides, job.summary, job.error))
    VisibleConsole(markup=False, highlight=False).print("\n", comparison(results), sep="")
