"""Run composed and checked jobs: one of them, or several and a table that compares them."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
import warnings
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout, suppress
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console

from accel.cli import run_directories, torchrun
from accel.cli.compose.config import Config
from accel.errors import AccelWarning, BadSample, ConfigError, Interrupted, RunDirectoryTaken, TrainingError
from accel.report.comparison import JobResult, comparison
from accel.report.formatting import metric
from accel.system.clock import TRAINING
from accel.system.disk_errors import is_disk_full
from accel.system.pipes import survive_broken_pipe
from accel.system.shell_quoting import override
from accel.system.stop_signals import StopSignals

__all__ = ["INTERRUPTED", "Job", "compare", "launch", "program", "show_warning", "warm_up"]


def compare(outcomes: Sequence[Job]) -> None:
    """Prints one row for each job: what sets it apart from the others, and what it came to."""
    common = set.intersection(*(set(outcome.config.overrides) for outcome in outcomes)) if len(outcomes) > 1 else set()
    jobs = []
    for outcome in outcomes:
        told = " ".join(word for word in outcome.config.overrides if word not in common)
        summary = outcome.summary
        metrics = {metric(summary["split"], name): value for name, value in summary["metrics"].items()} if summary else {}
        seconds = summary["seconds"] * sum(summary["shares"][phase] for phase in TRAINING) / 100 if summary else None
        jobs.append(JobResult(told, metrics, seconds, outcome.error))
    Console(markup=False, highlight=False).print("\n", comparison(jobs), sep="")


INTERRUPTED = 130


def launch(configs: Sequence[Config], flags: Sequence[str], many: bool) -> int:
    """Trains each; returns the exit code."""
    out, err = survive_broken_pipe(sys.stdout), survive_broken_pipe(sys.stderr)
    with warnings.catch_warnings(), redirect_stdout(out), redirect_stderr(err), StopSignals() as signals:
        warnings.showwarning = show_warning
        warnings.simplefilter("always", AccelWarning)
        code = _launch(configs, flags, many, signals)
        signals.requested = None  # what came too late to stop anything has nobody else to hear it
        out.flush()
    return code


def _launch(configs: Sequence[Config], flags: Sequence[str], many: bool, signals: StopSignals) -> int:
    for config in configs:
        torchrun.require_parallel_plugin(config)
        torchrun.require_named_directory(config)
        if many and config.settings.resume == "auto" and config.settings.out is None:
            raise ConfigError("resume=auto takes one run, and these are several: add out=DIR, in which they began (job N is DIR/N)")
    if many:
        warm_up(configs[0])
    base = Path(torchrun.agree_on_directory(str(run_directories.fresh(datetime.now()))))
    outcomes: list[Job] = []
    for number, config in enumerate(configs):
        out = run_directories.of_job(config.settings, base, number if many else None)
        for sentence in config.warnings if torchrun.rank() == 0 else ():
            print(f"accel: warning: {sentence}", file=sys.stderr)
        if many and torchrun.rank() == 0:
            print(f"\njob {number + 1} of {len(configs)}: {shlex.join(config.overrides)}", file=sys.stderr)
        outcomes.append(Job(config, out, [*program(), *flags]))
        outcomes[-1].run()
        if outcomes[-1].code in (INTERRUPTED, Interrupted.STOPPED) or signals.requested:
            break
    if many and torchrun.rank() == 0:
        from accel.cli.job import compare

        compare(outcomes)
    return max(outcome.code for outcome in outcomes)


def warm_up(config: Config) -> None:
    """One update of the first job, unseen: what a process does once (imports, threads) would count as that job's time."""
    with warnings.catch_warnings(), suppress(Exception):  # what goes wrong here, the job itself will tell
        warnings.simplefilter("ignore")
        config.trainer(dry_run=True, out=None, resume=None, watch=()).fit()


class Job:
    """One job: what it is to do, and what came of it."""

    def __init__(self, config: Config, out: Path | None, start: Sequence[str]) -> None:
        self.config, self.out, self.start = config, out, start
        kept = [word for word in config.overrides if not re.match(r"\+*(resume|out)=", word)]
        self.command = shlex.join([*start, *kept])
        self.summary: dict[str, Any] = {}
        self.code, self.error = 0, ""

    def run(self) -> int:
        """Trains, and says what went wrong, if anything; returns the exit code."""
        try:
            resume = self.config.settings.resume
            if resume == "auto" and self.config.settings.out is None:
                resume = str(run_directories.newest())
            self.summary = self.fit(resume)
            if self.summary["unsaved"]:
                told = "; ".join(f"{name}: {why}" for name, why in self.summary["unsaved"].items())
                self._fail(1, f"accel: error: the run is done, and could not be saved ({told}); make room{self.resume_hint()}")
        except ConfigError as error:
            # a run that comes upon one later can go on without it
            self._fail(2, f"accel: error: {error}{self.resume_hint() if isinstance(error, BadSample) else ''}")
            self.error = f"accel: error: {error}"
        except TrainingError as error:
            self._fail(1, f"accel: error: {error}{self.resume_hint(error.resume)}")
            self.error = str(error).partition(";")[0]
        except Interrupted as stop:
            self._fail(stop.code, f"accel: {stop}{self.resume_hint() or self.restart_hint()}" if torchrun.rank() == 0 else "")
            self.error = str(stop)
        except KeyboardInterrupt:
            self._fail(INTERRUPTED, f"\naccel: interrupted{self.resume_hint()}")
            self.error = "interrupted"  # the hint is too long for the table
        except Exception as error:
            if isinstance(error, OSError) and is_disk_full(error):
                self._fail(1, f"accel: error: {error.strerror}: {error.filename or self.out}; make room{self.resume_hint()}")
                return self.code
            from accel.cli.tracebacks import blame, trimmed

            self._fail(1, torchrun.lost_peer_message(error) or f"{blame(error)}{trimmed(error)}")
        return self.code

    def fit(self, resume: str | None) -> dict[str, Any]:
        """Trains; returns the summary. A directory that was named after the time, and is taken by now, is another one's."""
        while True:
            try:
                return self.config.trainer(out=self.out, resume=resume, command=self.command).fit().summary()
            except RunDirectoryTaken:
                if self.out is None or self.config.settings.out is not None or torchrun.world_size() > 1:
                    raise
                self.out = run_directories.fresh(datetime.now())

    def resume_hint(self, resume: str | None = None) -> str:
        """The command that goes on from `resume`, or from the last checkpoint, on a line of its own; empty where there is none."""
        out = self.out or self.config.settings.resume
        if resume is None and out is not None and Path(out, "checkpoints").exists():
            resume = str(out)
        return f"; go on with\n  {self.command} {override('resume', resume)}" if resume else ""

    def restart_hint(self) -> str:
        """The command that begins anew, on a line of its own."""
        return f"; begin again with\n  {shlex.join([*self.start, *self.config.overrides])}"

    def _fail(self, code: int, text: str) -> None:
        self.code, self.error = code, text.strip().rpartition("\n")[2]
        if code == 2:
            torchrun.defer_to_rank_zero()
        if text:
            print(text, file=sys.stderr)


def program() -> list[str]:
    """How this process was started, without its arguments, as short as the shell takes it."""
    if torchrun.world_size() > 1:
        return torchrun.program()
    words = sys.orig_argv[: len(sys.orig_argv) - len(sys.argv) + 1]
    if Path(words[-1]).name == "accel-train":
        words = words[-1:]
    elif words[-2:] != ["-m", "accel.train"]:
        return ["python", "-m", "accel.train"]
    short = shutil.which(Path(words[0]).name)
    same = short is not None and Path(words[0]).exists() and Path(short).samefile(words[0])
    return [Path(words[0]).name if same else words[0], *words[1:]]


def show_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, file: TextIO | None = None, line: str | None = None
) -> None:
    """accel's own warnings as one line of text, all others as Python shows them; the first rank's alone."""
    if torchrun.rank() > 0:
        return
    if issubclass(category, AccelWarning):
        print(f"accel: warning: {message}", file=sys.stderr)
    else:
        print(warnings.formatwarning(message, category, filename, lineno, line), end="", file=file or sys.stderr)
