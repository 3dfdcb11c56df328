"""A diagnosis in a terminal: what is measured is said while it is, and the page follows."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections.abc import Callable, Sequence

from accel.cli import torchrun
from accel.cli.compose.compose import compose
from accel.cli.exit_codes import FAILED
from accel.cli.job import command_of
from accel.errors import Interrupted, Sentence
from accel.report.terminal import say
from accel.report.visible_console import VisibleConsole

__all__ = ["announcer", "run_doctor"]


def run_doctor(args: Namespace, overrides: Sequence[str]) -> int:
    """Diagnose the run of some overrides, and print the diagnosis; return the exit code.

    Args:
        args: the flags of `accel doctor`.
        overrides: as for training.

    Raises:
        ConfigError: if the overrides cannot work.
    """
    config = compose(overrides, config_dir=args.config_dir, config_path=args.config_path)
    torchrun.require_parallel_plugin(config)
    command = command_of(config.overrides, args.config_dir, args.config_path)
    from accel.diagnose.doctor import doctor

    trainer = config.trainer(out=None, resume=None, dry_run=False, watch=(), command=command)
    try:
        diagnosis = doctor(trainer, seconds=args.seconds, say=announcer())
    except (Sentence, Interrupted):
        raise
    except Exception as error:  # of the user's code
        from accel.cli.tracebacks import plugin_at_fault, user_traceback

        say(f"{plugin_at_fault(error)}{user_traceback(error)}", file=sys.stderr)
        return FAILED
    if torchrun.rank() > 0:
        return 0
    if args.json:
        say(json.dumps(diagnosis.as_dict(), indent=1, allow_nan=False))
    else:
        VisibleConsole(markup=False, highlight=False).print(diagnosis, soft_wrap=False)
    return 0


def announcer() -> Callable[[str], None]:
    """Return the function that says, on standard error, what is measured: in place on a terminal, a line each elsewhere."""
    if torchrun.rank() > 0:
        return lambda line: None
    if not sys.stderr.isatty():
        return lambda line: say(f"measuring: {line}", file=sys.stderr, flush=True)
    return lambda line: say(f"measuring: {line}", start="\r\x1b[K", end="\r", file=sys.stderr, flush=True)
