"""An ablation in a terminal: from the words that were typed to the table, the document and the line to type next."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from accel.cli.ablate.kept_words import kept_words
from accel.cli.compose.config_source import ConfigSource
from accel.cli.doctor.doctor_console import refuse_run_words
from accel.cli.exit_codes import prints_aside
from accel.cli.job import command_of
from accel.diagnose.picture_file import picture_file, write_picture
from accel.errors import ConfigError, Sentence
from accel.report.terminal import say
from accel.report.visible_console import VisibleConsole

if TYPE_CHECKING:
    from accel.cli.compose.config import Config
    from accel.diagnose.ablation import Ablation

__all__ = ["groups", "make_trainer", "run_ablation"]

WIDTH = 110
"""Columns of the table where there is no terminal."""


def run_ablation(args: Namespace) -> int:
    """Measure and print; return the exit code.

    Args:
        args: flags and overrides of `accel ablate`.

    Raises:
        ConfigError: if the overrides or flags cannot work.
    """
    source = ConfigSource.of(args)
    config = source.compose(args.words)
    refuse_run_words(config, "an ablation")
    together, picture = groups(args.together), picture_file(args.picture, "ablation.svg")
    try:
        with prints_aside(args.json):
            ablation = _measure(config, args, together, lambda line: say(line, flush=True))
    except Sentence:
        raise
    except Exception as error:  # of the user's code
        from accel.cli.tracebacks import print_failure

        return print_failure(error)
    words = kept_words(config.overrides, ablation.left_out)
    ablation = ablation.with_command(command_of(words, source))
    write_picture(picture, ablation.draw)
    if args.json:
        say(json.dumps(ablation.to_dict(), indent=1, allow_nan=False))
    else:
        say()
        is_seen = sys.stdout.isatty()  # a pipe has no width, and rich would take 80 columns
        VisibleConsole(markup=False, highlight=False, soft_wrap=not is_seen, width=None if is_seen else WIDTH).print(ablation)
    return 0


def _measure(
    config: Config, args: Namespace, together: list[list[str]], report: Callable[[str], None]
) -> Ablation:  # fmt: skip
    from accel.diagnose.ablation import ablate

    make = partial(make_trainer, config)
    return ablate(
        make(), together=together, seeds=args.seeds, updates=args.updates, seconds=args.seconds, report=report, make_trainer=make
    )


def make_trainer(config: Config) -> Any:
    """Return the trainer of a config, which writes nothing and shows nothing."""
    return config.trainer(out=None, resume=None, dry_run=False, watch=())


def groups(text: str | None) -> list[list[str]]:
    """Return the names in `--together`: `a+b,c+d` is two groups. Raise ConfigError for a group of one.

    >>> groups("onecycle+lamb,amp+channels_last")
    [['onecycle', 'lamb'], ['amp', 'channels_last']]
    """
    named = [[name.strip() for name in group.split("+")] for group in text.split(",")] if text else []
    if any(len(names) < 2 or not all(names) for names in named):
        raise ConfigError(f"--together {text}: name two plugins or more with + between them, such as onecycle+lamb")
    return named
