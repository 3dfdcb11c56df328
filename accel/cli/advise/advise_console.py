"""Advice in a terminal: what is measured is said while it is, and the page follows."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Sequence

from accel.cli.compose.config_source import ConfigSource
from accel.cli.doctor.doctor_console import announced, refuse_run_words
from accel.cli.exit_codes import prints_aside
from accel.cli.job import command_of
from accel.diagnose.advice_page import show
from accel.diagnose.picture_file import picture_file, write_picture
from accel.errors import Interrupted, Sentence
from accel.report.terminal import say
from accel.report.visible_console import VisibleConsole

__all__ = ["run_advice"]


def run_advice(args: Namespace, overrides: Sequence[str]) -> int:
    """Advise on the model of some overrides, and print the advice; return the exit code.

    Args:
        args: flags of `accel advise`.
        overrides: as for training.

    Raises:
        ConfigError: if the overrides or flags cannot work.
    """
    picture = picture_file(args.picture, "roofline.svg")
    source = ConfigSource.of(args)
    config = source.compose(overrides)
    refuse_run_words(config, "advice")
    command = command_of(config.overrides, source)
    from accel.diagnose.advise import advise_run

    try:
        with prints_aside(args.json), announced() as announce:
            trainer = config.trainer(out=None, resume=None, dry_run=False, watch=(), command=command)
            advice = advise_run(trainer, inference=args.inference, seconds=args.seconds, say=announce)
    except (Sentence, Interrupted):
        raise
    except Exception as error:  # of the user's code
        from accel.cli.tracebacks import print_failure

        return print_failure(error)
    write_picture(picture, advice.draw)
    if args.json:
        say(json.dumps(advice.to_dict(), indent=1, allow_nan=False))
    else:
        show(VisibleConsole(markup=False, highlight=False), advice)
    return 0
