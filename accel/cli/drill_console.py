"""A drill in a terminal: it is set up, watched and summed up, and a failed trial comes with the command that repeats it."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from time import monotonic
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from accel.cli.compose.config import Config, TargetConfig
from accel.cli.compose.config_source import ConfigSource
from accel.cli.drill_command import KINDS
from accel.errors import ConfigError
from accel.report.terminal import say
from accel.system.shell_quoting import command_line

if TYPE_CHECKING:
    from accel.testing.drill.drill import Report
    from accel.testing.drill.struck_run import Body

__all__ = ["LINE_SECONDS", "UPDATE_LOG", "drill", "forked_body", "process_body", "require_repeatable", "run_drill", "terminable"]

UPDATE_LOG = "accel.testing.drill.update_log.UpdateLog"
LINE_SECONDS = 10.0
"""Seconds between two lines of progress if the output is no terminal."""


def run_drill(kind: str, args: Namespace, overrides: Sequence[str]) -> int:
    """Run the trials of one drill; return 0 if all passed, else 1.

    Args:
        kind: one of `KINDS`.
        args: the flags of `accel drill`.
        overrides: what to train.

    Raises:
        ConfigError: if the overrides cannot work, or a drill cannot repeat them.
    """
    source = ConfigSource.of(args)
    config = source.compose(overrides)
    require_repeatable(config)
    seed = int.from_bytes(os.urandom(3), "big") if args.seed is None else args.seed
    numbers = range(args.n) if args.trial is None else range(args.trial, args.trial + 1)
    folder = Path(tempfile.mkdtemp(prefix="accel-drill-")) if args.dir is None else Path(args.dir).expanduser()
    if args.dir is not None and folder.exists() and any(folder.iterdir()):
        raise ConfigError(f"--dir {folder} is not empty; name another folder")
    failed = True
    try:
        body = process_body([*source.words, *overrides]) if args.fresh else forked_body(config)
        reports = drill(kind, body, folder, seed, args.within, numbers)
        failed = any(report.failure for report in reports)
    finally:
        if not failed or not any(folder.glob("trial-*")):
            shutil.rmtree(folder, ignore_errors=True)
    command = ["python", "-m", "accel", "drill", kind, *source.words, "--seed", str(seed), *(["--fresh"] if args.fresh else [])]
    for report in reports:
        if report.failure:
            say(f"trial {report.number}: {report.failure}\n  {report.folder}; repeated by")
            say(f"  {command_line([*command, '--trial', str(report.number), *overrides])}")
    return int(failed)


def require_repeatable(config: Config) -> None:
    """Raise ConfigError if a drill cannot repeat the run of `config`."""
    for name in ("dry_run", "resume"):
        if config.is_typed(name):
            raise ConfigError(f"a drill runs the whole of it from its beginning, so leave {name} out")
    if config.is_typed("out"):
        raise ConfigError("a drill makes its own run directories, so leave out out=; --dir names where")


@contextmanager
def terminable() -> Iterator[None]:
    """Let SIGTERM end this process as Ctrl-C does, so that the processes it has started end with it."""

    def end(number: int, frame: FrameType | None) -> NoReturn:
        raise SystemExit(128 + number)

    previous = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


@terminable()
def drill(kind: str, body: Body, folder: Path, seed: int, within: float, numbers: range) -> list[Report]:
    """Run the trials and print how they go; return a report of each.

    Args:
        kind: one of `KINDS`.
        body: trains, in a process of its own.
        folder: for the runs.
        seed: of all that is drawn.
        within: seconds that a run has to stop, besides its slowest update.
        numbers: the trials.
    """
    from accel.testing.drill.drill import Drill
    from accel.testing.drill.results_table import summary

    trials = Drill(kind, body, folder.resolve(), seed, within)
    say(f"{KINDS[kind]}; seed {seed}", flush=True)
    trials.reference()
    say(f"left alone it takes {trials.seconds:.1f} s", flush=True)
    if trials.reference_difference:
        say(
            f"accel: warning: two runs that nobody strikes differ already: {trials.reference_difference}; so will the trials",
            file=sys.stderr,
        )
    reports: list[Report] = []
    terminal, last_line = sys.stdout.isatty(), monotonic()
    for report in trials.trials(numbers):
        reports.append(report)
        line = _progress(reports, len(numbers))
        if terminal:
            say(f"{line} ", start="\r", end="", flush=True)
        elif monotonic() - last_line > LINE_SECONDS:
            say(line, flush=True)
            last_line = monotonic()
    say(summary(kind, reports), start="\r" * terminal, flush=True)
    return reports


def _progress(reports: Sequence[Report], count: int) -> str:
    """Return the line about the trials so far, of `count`."""
    strikes, failures = sum(report.strikes for report in reports), sum(bool(report.failure) for report in reports)
    return f"trial {len(reports)} of {count}: {strikes} strikes, {failures} failed"


def forked_body(config: Config) -> Body:
    """Return a body that trains in a fork of this process, in which everything has been imported."""
    import torch.fx.experimental.symbolic_shapes  # noqa: F401 - the first backward pass imports it, which takes a second

    from accel.cli.launch import launch

    config.trainer()

    def body(out: Path, resume: bool, pulse: Path) -> int:
        settings = replace(config.settings, out=str(out), resume="auto" if resume else None, dry_run=False)
        watch = TargetConfig(UPDATE_LOG, "Watch", {"path": str(pulse)})
        return launch([replace(config, settings=settings, plugins={**config.plugins, "pulse": watch})], [])

    return body


def process_body(typed: Sequence[str]) -> Body:
    """Return a body that trains in a process of its own, by flags and overrides as they were typed."""
    from accel.system.shell_quoting import setting

    def word(name: str, text: object) -> str:
        return setting(name, text)

    def body(out: Path, resume: bool, pulse: Path) -> int:
        kept = [text for text in typed if not text.lstrip("+").startswith(("out=", "resume=", "dry_run="))]
        directory = [word("out", out), f"resume={'auto' if resume else 'null'}", "dry_run=false"]
        watch = [f"+plugins.pulse._target_={UPDATE_LOG}", word("+plugins.pulse.path", pulse)]
        os.execv(sys.executable, [sys.executable, "-m", "accel.train", *kept, *directory, *watch])

    body.fresh = True  # type: ignore[attr-defined]
    return body
