"""Optuna's sweeper, as it is typed for Hydra: it proposes the settings of each trial, and is told the metric of the job."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.types import HydraContext
from omegaconf import open_dict

from accel.cli import run_directories, torchrun
from accel.cli.compose import compose, overrides
from accel.cli.compose.hydra_session import Session
from accel.cli.compose.hydra_settings import HydraSettings
from accel.cli.exit_codes import INTERRUPTED, beside_the_work
from accel.cli.job import Job, program
from accel.cli.launch import print_comparison, require_launchable
from accel.cli.parallel.job_lines import JobLines
from accel.cli.parallel.joblib_launcher import JoblibLauncher
from accel.cli.parallel.side_by_side import run_side_by_side
from accel.cli.submit.launcher import Launcher
from accel.errors import ConfigError, Interrupted
from accel.report.record.metric_choice import MetricChoice
from accel.report.terminal import say
from accel.system.shell_quoting import command_line
from accel.system.stop_signals import StopSignals

__all__ = ["TARGET", "Trials", "sweep"]

TARGET = "hydra_plugins.hydra_optuna_sweeper.optuna_sweeper.OptunaSweeper"


class Trials:
    """Launcher that the sweeper is given: it composes and runs the trials, one after the other or some at a time.

    Args:
        opened: finds config files.
        fixed: the overrides that all trials have in common.
        base: directory of the sweep.
        folder: that of a trial in it, by its number and its overrides.
        flags: flags that a resumed run needs again.
        signals: that may stop the sweep.
        beside: launcher of trials at the same time; None for one after the other.
    """

    def __init__(
        self, opened: Session, fixed: Sequence[str], base: Path, folder: Callable[[int, Sequence[str]], str],
        flags: Sequence[str], signals: StopSignals, beside: JoblibLauncher | None = None,
    ) -> None:  # fmt: skip
        self.opened, self.fixed, self.base, self.folder = opened, fixed, base, folder
        self.flags, self.signals, self.beside = flags, signals, beside
        self.jobs: list[Job] = []
        self.running = False
        """Whether trials are run just now, or have raised: else what is raised is the sweeper's."""

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
        """Run trials; return the value of the metric of each, or its error.

        Raises:
            KeyboardInterrupt: if one was stopped.
        """
        self.running = True
        returned = self.run_all(job_overrides, initial_job_idx)
        self.running = False
        return returned

    def run_all(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
        """Run trials, one after the other or at the same time."""
        jobs = [self.job([*self.fixed, *words], number) for number, words in enumerate(job_overrides, initial_job_idx)]
        if self.beside is None:
            return [self.run(job, number) for number, job in enumerate(jobs, initial_job_idx)]
        shares = self.beside.shares([job.config for job in jobs])
        if not self.jobs:
            say(f"trials: {self.beside.sentence(len(jobs), shares)}", file=sys.stderr)
        lines = JobLines(self.beside.log_name, noun="trial")
        self.jobs += run_side_by_side(jobs, shares, self.signals, lines, initial_job_idx)
        if self.signals.requested or any(job.code in (INTERRUPTED, Interrupted.STOPPED) for job in jobs):
            raise KeyboardInterrupt
        return [self.outcome(job) for job in jobs]

    def job(self, words: list[str], number: int) -> Job:
        """Return one trial, checked."""
        config = compose.compose_job(self.opened, words)
        require_launchable([config], many=True)
        return Job(config, self.base / self.folder(number, words), [*program(), *self.flags])

    def run(self, job: Job, number: int) -> JobReturn:
        """Run one trial."""
        say(f"\ntrial {number + 1}: {command_line(job.config.overrides)}", file=sys.stderr)
        self.jobs.append(job)
        if job.run() in (INTERRUPTED, Interrupted.STOPPED) or self.signals.requested:
            raise KeyboardInterrupt
        return self.outcome(job)

    def outcome(self, job: Job) -> JobReturn:
        """Return what the sweeper is told of a trial: the best value of the metric, or the error."""
        best = job.summary.get("best")
        outcome = JobReturn()
        outcome.status = JobStatus.COMPLETED if best else JobStatus.FAILED
        outcome.return_value = best["value"] if best else RuntimeError(job.error or "the trial has no value of the metric")
        return outcome

    def best(self, choice: MetricChoice) -> str:
        """Return a sentence on the best trial, and what it was told."""
        values = {number: job.summary["best"]["value"] for number, job in enumerate(self.jobs) if job.summary.get("best")}
        if not values:
            return f"no trial has a value of {choice.metric}"
        number = min(values, key=lambda trial: values[trial] if choice.lower else -values[trial])
        words = [word for word in self.jobs[number].config.overrides if word not in self.fixed]
        return f"{choice.described} has trial {number}: {values[number]:.4g} with {command_line(words)}"


def sweep(
    opened: Session, hydra: HydraSettings, chosen: Launcher | JoblibLauncher | None, typed: Sequence[str], flags: Sequence[str]
) -> int:
    """Run the trials of a sweep, print their table and the best, and return the largest exit code.

    Args:
        opened: finds config files.
        hydra: Hydra's own settings, with the sweeper's.
        chosen: launcher of trials at the same time; None for one after the other.
        typed: all other overrides, those that have a range of values among them.
        flags: flags that a resumed run needs again.

    Raises:
        ConfigError: if the sweeper cannot work.
    """
    if hydra.composed.hydra.sweeper.get("_target_") != TARGET:
        name = hydra.composed.hydra.runtime.choices.get("hydra/sweeper")
        raise ConfigError(f"hydra/sweeper={name} has no effect: accel knows optuna, and basic, which is --multirun alone")
    if isinstance(chosen, Launcher):
        raise ConfigError(f"{chosen.as_typed} waits for no job, and a sweeper has to be told of each; write hydra/launcher=joblib")
    if torchrun.world_size() > 1:
        raise ConfigError("a sweeper is asked by one process, and torchrun started several: start it without torchrun")
    parsed = overrides.parse(opened, typed)
    ranges = [word for word, override in zip(typed, parsed, strict=True) if override.is_sweep_override()]
    fixed = [word for word in typed if word not in ranges]
    first, composed = compose.compose_job(opened, fixed), hydra.composed
    if not ranges and not composed.hydra.sweeper.get("params") and not composed.hydra.sweeper.get("search_space"):
        raise ConfigError("a sweep needs settings to search: add NAME=interval(LOW,HIGH), NAME=range(LOW,HIGH) or NAME=choice(A,B)")
    if first.settings.checkpoint_best is None:
        raise ConfigError("a sweep needs the metric by which trials are compared: add checkpoint.best=accuracy, or min:NAME")
    choice = MetricChoice.read(first.settings.checkpoint_best)
    base = Path(first.settings.out or run_directories.dated_directory(datetime.now()))
    with open_dict(composed):
        composed.hydra.sweeper.direction = "minimize" if choice.lower else "maximize"
        composed.hydra.sweep.dir = str(base)
    beside_the_work()
    with StopSignals() as signals, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the sweeper's own packages; a run has its warnings in its plan
        trials = Trials(opened, fixed, base, hydra.folder, flags, signals, chosen)
        with suppress(KeyboardInterrupt):  # the job has said so
            _ask(opened, composed, trials, ranges)
        signals.requested = None
    if trials.jobs:
        print_comparison(trials.jobs)
        say(f"\n{trials.best(choice)}")
    return max((job.code for job in trials.jobs), default=0)


def _ask(opened: Session, composed: Any, trials: Trials, ranges: Sequence[str]) -> None:
    """Let the sweeper propose trials until it has had all of them, or too many have failed. What it refuses is a ConfigError."""
    for name in ("n_trials", "n_jobs"):
        if (number := composed.hydra.sweeper[name]) < 1:
            raise ConfigError(f"hydra.sweeper.{name} must be a whole number from 1, not {number}")

    def refuse(config: Any) -> NoReturn:
        raise AssertionError("the trials are run by their launcher")

    context = HydraContext(config_loader=opened.loader, callbacks=None)  # type: ignore[arg-type]
    try:
        sweeper: Any = Plugins.instance().instantiate_sweeper(hydra_context=context, task_function=refuse, config=composed)
        sweeper.sweeper.launcher = trials
        sweeper.sweep(list(ranges))
    except Exception as error:
        if trials.running:
            raise
        if any(job.code for job in trials.jobs):  # they have said why
            say("\nthe sweep ends: a trial failed; hydra.sweeper.max_failure_rate=0.5 lets half of them fail", file=sys.stderr)
            return
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ConfigError(f"Optuna refuses the sweep: {reason}; change the ranges, or what hydra.sweeper says") from error
