"""Advice in a terminal: what is measured is said while it is, and the page follows."""

from __future__ import annotations

import json
import os
import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from accel.cli import torchrun
from accel.cli.compose.compose import compose
from accel.cli.doctor.doctor_console import announcer
from accel.cli.exit_codes import FAILED
from accel.cli.job import command_of
from accel.errors import ConfigError, Interrupted, Sentence
from accel.report.advice_page import show
from accel.report.terminal import say
from accel.report.visible_console import VisibleConsole
from accel.system import disk_errors

__all__ = ["roofline_file", "run_advice"]


def run_advice(args: Namespace, overrides: Sequence[str]) -> int:
    """Advise on the model of some overrides, and print the advice; return the exit code.

    Args:
        args: flags of `accel advise`.
        overrides: as for training.

    Raises:
        ConfigError: if the overrides or flags cannot work.
    """
    if torchrun.world_size() > 1:
        raise ConfigError("advise looks at one process; start it without torchrun")
    picture = roofline_file(args.picture)
    config = compose(overrides, config_dir=args.config_dir, config_path=args.config_path)
    command = command_of(config.overrides, args.config_dir, args.config_path)
    from accel.diagnose.advise import advise_run

    trainer = config.trainer(out=None, resume=None, dry_run=False, watch=(), command=command)
    try:
        advice = advise_run(trainer, seconds=args.seconds, say=announcer())
    except (Sentence, Interrupted):
        raise
    except Exception as error:  # of the user's code
        from accel.cli.tracebacks import plugin_at_fault, user_traceback

        say(f"{plugin_at_fault(error)}{user_traceback(error)}", file=sys.stderr)
        return FAILED
    if picture is not None:
        try:
            advice.draw(picture)
        except OSError as error:
            reason = disk_errors.disk_reason(error)
            raise ConfigError(f"--picture {picture}: cannot write there ({reason}); name another file") from None
    if args.json:
        say(json.dumps(advice.to_dict(), indent=1, allow_nan=False))
    else:
        show(VisibleConsole(markup=False, highlight=False), advice)
    return 0


def roofline_file(text: str | None) -> Path | None:
    """Return the file of the picture. Raise ConfigError, before anything is measured, if it cannot be written."""
    if text is None:
        return None
    file = Path(text).expanduser()
    if not file.name or os.path.isdir(file):
        raise ConfigError(f"--picture {text} names no file; name one, such as roofline.svg")
    if file.suffix != ".svg":
        raise ConfigError(f"--picture {text}: the picture is an SVG; end its name with .svg")
    if not os.path.isdir(file.parent):
        raise ConfigError(f"--picture {text}: there is no folder {file.parent} to write in; make it, or name another file")
    return file
