"""Composed and checked jobs are run here: one, or several and a table that compares them."""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    from accel.cli.parallel.joblib_launcher import JoblibLauncher

__all__ = ["launch", "print_comparison", "require_launchable", "warm_up"]


def launch(
    configs: Sequence[Config], flags: Sequence[str], folders: Sequence[str] = (), beside: JoblibLauncher | None = None
) -> int:
    """Run one job after the other, or several at a time; return the largest exit code.

    Args:
        configs: the jobs.
        flags: flags that a resumed run needs again.
        folders: of the jobs of a multirun, which are numbered and compared; none for one run.
        beside: launcher of jobs at the same time; None for one after the other.

    Raises:
        ConfigError: if the jobs cannot work in these processes.
    """
    beside_the_work()
    with StopSignals() as signals:
        require_launchable(configs, bool(folders))
        if beside is not None:
            jobs = _run_beside(beside, configs, flags, folders, signals)
        else:
            if folders:
                warm_up(configs[0])
            jobs = _run_jobs(configs, flags, folders, signals)
        if jobs and folders and torchrun.rank() == 0:
            print_comparison(jobs)
        left_out = signals.requested is not None and len(jobs) < len(configs)
        signals.requested = None  # a signal that came too late to stop a job must not end the process now
    return max([*(job.code for job in jobs), *([Interrupted.STOPPED] if left_out else [])])


def require_launchable(configs: Sequence[Config], many: bool) -> None:
    """Raise ConfigError if the processes would not train together, or would not find the run that they resume."""
    for config in configs:
        torchrun.require_parallel_plugin(config)
        torchrun.require_named_directory(config)
        if many and config.settings.resume == "auto" and config.settings.out is None:
            raise ConfigError("resume=auto takes one run, and these are several: add out=DIR, in which they began (job N is DIR/N)")


def _run_jobs(configs: Sequence[Config], flags: Sequence[str], folders: Sequence[str], signals: StopSignals) -> list[Job]:
    """Run the jobs until one is interrupted; return those that were run. The arguments are those of `launch`."""
    jobs: list[Job] = []
    for number, job in enumerate(_jobs(configs, flags, folders)):
        if jobs and folders and torchrun.rank() == 0:
            say(f"\njob {number + 1} of {len(configs)}: {command_line(job.config.overrides)}", file=sys.stderr)
        jobs.append(job)
        if job.run() in (INTERRUPTED, Interrupted.STOPPED) or signals.requested:
            break
    return jobs


def _run_beside(
    launcher: JoblibLauncher, configs: Sequence[Config], flags: Sequence[str], folders: Sequence[str], signals: StopSignals
) -> list[Job]:
    """Run the jobs, several at a time; return those that were begun. The arguments are those of `launch`."""
    from accel.cli.parallel.job_lines import JobLines
    from accel.cli.parallel.side_by_side import run_side_by_side

    if torchrun.world_size() > 1:
        raise ConfigError("hydra/launcher=joblib starts processes itself, and torchrun started several: start it without torchrun")
    shares = launcher.shares(configs)
    say(launcher.sentence(len(configs), shares), file=sys.stderr)
    lines = JobLines(launcher.log_name, len(configs))
    return run_side_by_side(_jobs(configs, flags, folders), shares, signals, lines)


def _jobs(configs: Sequence[Config], flags: Sequence[str], folders: Sequence[str]) -> list[Job]:
    """Return the jobs, each with its run directory. The arguments are those of `launch`."""
    base = Path(torchrun.agree_on_directory(str(run_directories.dated_directory(datetime.now()))))
    jobs, names = list[Job](), list[str | None](folders) or [None]
    for config, folder in zip(configs, names, strict=True):
        jobs.append(Job(config, run_directories.job_directory(config.settings, base, folder), [*program(), *flags]))
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
