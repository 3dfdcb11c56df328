"""A diagnosis in a terminal: what is measured is said while it is, and the page follows."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from accel.cli import torchrun
from accel.cli.compose.config_source import ConfigSource
from accel.cli.exit_codes import prints_aside
from accel.cli.job import command_of
from accel.errors import ConfigError, Interrupted, Sentence
from accel.report.diagnosis_page import show
from accel.report.terminal import say
from accel.report.visible_console import VisibleConsole

if TYPE_CHECKING:
    from accel.cli.compose.config import Config
    from accel.diagnose.diagnosis import Diagnosis

__all__ = ["DEFAULT_NAME", "announced", "refuse_run_words", "run_doctor"]

DEFAULT_NAME = "doctor"
"""Of the experiment."""


def run_doctor(args: Namespace, overrides: Sequence[str]) -> int:
    """Diagnose the run of some overrides, and print the diagnosis; return the exit code.

    Args:
        args: the flags of `accel doctor`.
        overrides: as for training.

    Raises:
        ConfigError: if the overrides cannot work.
    """
    source = ConfigSource.of(args)
    config = source.compose(overrides)
    refuse_run_words(config, "a diagnosis")
    torchrun.require_parallel_plugin(config)
    if args.name is not None and not args.apply:
        raise ConfigError(f"--name {args.name} is that of an experiment, which --apply writes; add --apply")
    if args.apply:
        from accel.cli.doctor.experiment_file import require_new

        args.name = DEFAULT_NAME if args.name is None else args.name
        require_new(args.name, source)
    command = command_of(config.overrides, source)
    try:
        with prints_aside(args.json):
            trainer = config.trainer(out=None, resume=None, dry_run=False, watch=(), command=command)
            diagnosis, document = _measure(args, config.overrides, trainer)
    except (Sentence, Interrupted):
        raise
    except Exception as error:  # of the user's code
        from accel.cli.tracebacks import print_failure

        return print_failure(error)
    if args.json and torchrun.rank() == 0:
        say(json.dumps({**diagnosis.as_dict(), **document}, indent=1, allow_nan=False))
    return 0


def refuse_run_words(config: Config, work: str) -> None:
    """Raise ConfigError for typed settings of a run that is kept, which one that is only tried out does not heed.

    Args:
        config: the configuration.
        work: what tries the run out, in words.
    """
    for name in ("dry_run", "resume", "out"):
        if config.is_typed(name):
            raise ConfigError(f"{name} has no effect on {work}, which begins anew and writes no run; leave it out")


def _measure(args: Namespace, overrides: Sequence[str], trainer: Any) -> tuple[Diagnosis, dict[str, Any]]:
    """Return the diagnosis, which is shown as soon as it is there, and what applying its remedies adds to the document."""
    from accel.diagnose.doctor import doctor

    with announced() as announce:
        diagnosis = doctor(trainer, seconds=args.seconds, say=announce)
    if torchrun.rank() == 0 and not args.json:
        show(VisibleConsole(markup=False, highlight=False), diagnosis)
    if not args.apply:
        return diagnosis, {}
    from accel.cli.doctor.apply_remedies import apply_and_write

    return diagnosis, apply_and_write(diagnosis, args, overrides)


@contextmanager
def announced(verb: str = "measuring") -> Iterator[Callable[[str], None]]:
    """Give the function that says, on standard error, what is under way: in place on a terminal, a line each elsewhere.

    On a terminal the last one is taken away at the end, however that comes.

    Args:
        verb: stands before each.
    """
    in_place = sys.stderr.isatty() and torchrun.rank() == 0

    def announce(line: str) -> None:
        if in_place:
            say(f"{verb}: {line}", start="\r\x1b[K", end="\r", file=sys.stderr, flush=True)
        elif torchrun.rank() == 0:
            say(f"{verb}: {line}", file=sys.stderr, flush=True)

    try:
        yield announce
    finally:
        if in_place:
            say("", start="\r\x1b[K", end="\r", file=sys.stderr, flush=True)
