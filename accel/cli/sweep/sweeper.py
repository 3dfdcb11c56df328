"""Optuna's sweeper, as it is typed for Hydra: it proposes the settings of each trial, and is told the metric of the job."""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Sequence
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
from accel.cli.exit_codes import INTERRUPTED, beside_the_work
from accel.cli.job import Job, program
from accel.cli.launch import print_comparison, require_launchable
from accel.cli.sweep.words import SEARCH, SWEEPER
from accel.errors import ConfigError, Interrupted, nearest
from accel.report.record.metric_choice import MetricChoice
from accel.report.terminal import say
from accel.system.machine import importable
from accel.system.shell_quoting import command_line
from accel.system.stop_signals import StopSignals

__all__ = ["PACKAGE", "TARGET", "Trials", "sweep"]

PACKAGE = "hydra_plugins.hydra_optuna_sweeper"
TARGET = f"{PACKAGE}.optuna_sweeper.OptunaSweeper"


class Trials:
    """Launcher that the sweeper is given: it composes and runs each trial, one after the other.

    Args:
        opened: finds config files.
        fixed: the overrides that all trials have in common.
        base: directory of the sweep; trial N is in `base/N`.
        flags: flags that a resumed run needs again.
        signals: that may stop the sweep.
    """

    def __init__(self, opened: Session, fixed: Sequence[str], base: Path, flags: Sequence[str], signals: StopSignals) -> None:
        self.opened, self.fixed, self.base, self.flags, self.signals = opened, fixed, base, flags, signals
        self.jobs: list[Job] = []

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
        """Run trials; return the value of the metric of each, or its error.

        Raises:
            KeyboardInterrupt: if one was stopped.
        """
        return [self.run([*self.fixed, *words], number) for number, words in enumerate(job_overrides, initial_job_idx)]

    def run(self, words: list[str], number: int) -> JobReturn:
        """Run one trial."""
        config = compose.compose_job(self.opened, words)
        require_launchable([config], many=True)
        say(f"\ntrial {number + 1}: {command_line(words)}", file=sys.stderr)
        job = Job(config, self.base / str(number), [*program(), *self.flags])
        self.jobs.append(job)
        if job.run() in (INTERRUPTED, Interrupted.STOPPED) or self.signals.requested:
            raise KeyboardInterrupt
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


def sweep(opened: Session, typed: Sequence[str], flags: Sequence[str], multirun: bool) -> int:
    """Run the trials of a sweep, print their table and the best, and return the largest exit code.

    Args:
        opened: finds config files.
        typed: the overrides, with the sweeper's and those that have a range of values.
        flags: flags that a resumed run needs again.
        multirun: whether `--multirun` was typed.

    Raises:
        ConfigError: if the sweeper cannot work.
    """
    if not multirun:
        raise ConfigError("a sweeper proposes several runs: add --multirun")
    if torchrun.world_size() > 1:
        raise ConfigError("a sweeper is asked by one process, and torchrun started several: start it without torchrun")
    words = [word for word in typed if SWEEPER.match(word)]
    searches = [f"+{word.lstrip('+')}" for word in typed if SEARCH.match(word)]
    others = [*searches, *(word for word in typed if not (SWEEPER.match(word) or SEARCH.match(word)))]
    parsed = overrides.parse(opened, others)
    ranges = [word for word, override in zip(others, parsed, strict=True) if override.is_sweep_override()]
    fixed = [word for word in others if word not in ranges]
    first = compose.compose_job(opened, fixed)
    composed = _composed_sweeper(opened, [*searches, *words])
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
        trials = Trials(opened, fixed, base, flags, signals)
        with suppress(KeyboardInterrupt):  # the job has said so
            _ask(opened, composed, trials, ranges)
        signals.requested = None
    if trials.jobs:
        print_comparison(trials.jobs)
        say(f"\n{trials.best(choice)}")
    return max((job.code for job in trials.jobs), default=0)


def _ask(opened: Session, composed: Any, trials: Trials, ranges: Sequence[str]) -> None:
    """Let the sweeper propose trials until it has had all of them."""

    def refuse(config: Any) -> NoReturn:
        raise AssertionError("the trials are run by their launcher")

    context = HydraContext(config_loader=opened.loader, callbacks=None)  # type: ignore[arg-type]
    sweeper: Any = Plugins.instance().instantiate_sweeper(hydra_context=context, task_function=refuse, config=composed)
    sweeper.sweeper.launcher = trials
    sweeper.sweep(list(ranges))


def _composed_sweeper(opened: Session, words: Sequence[str]) -> Any:
    """Return Hydra's config with the sweeper. Raise ConfigError if it is not Optuna's, or is not installed."""
    chosen = next((word.partition("=")[2] for word in words if re.match(r"\+*hydra/sweeper=", word)), "")
    if chosen not in ("", "optuna", "basic") and chosen not in opened.options("hydra/sweeper"):
        known = nearest(chosen, ["optuna", "basic"]) or "; accel knows optuna, and basic, which is --multirun alone"
        raise ConfigError(f"no sweeper is called {chosen!r}{known}")
    if not importable(PACKAGE):
        raise ConfigError("hydra/sweeper=optuna needs the package hydra-optuna-sweeper: pip install 'accel-train[optuna]'")
    try:
        composed = opened.compose_multirun(list(words))
    except Exception as error:
        raise ConfigError(
            f"{command_line(words)}: {' '.join(str(error.__cause__ or error).partition(chr(10))[0].split())}"
        ) from None
    if composed.hydra.sweeper.get("_target_") != TARGET:
        raise ConfigError(f"{command_line(words)}: this sweeper is not Optuna's; add hydra/sweeper=optuna, or leave it out")
    return composed
