"""An ablation in a terminal: from the words that were typed to the table, the document and the line to type next."""

from __future__ import annotations

import json
import os
import sys
from argparse import Namespace
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from accel.cli import torchrun
from accel.cli.ablate.kept_words import kept_words
from accel.cli.arguments import program_name
from accel.cli.compose.compose import compose
from accel.cli.exit_codes import FAILED
from accel.errors import ConfigError, Sentence
from accel.report.terminal import say
from accel.report.visible_console import VisibleConsole
from accel.system import disk_errors
from accel.system.shell_quoting import command_line

if TYPE_CHECKING:
    from accel.cli.compose.config import Config
    from accel.diagnose.ablation import Ablation

__all__ = ["groups", "make_trainer", "picture_file", "require_whole_run", "run_ablation"]


def run_ablation(args: Namespace) -> int:
    """Measure and print; return the exit code.

    Args:
        args: flags and overrides of `accel ablate`.

    Raises:
        ConfigError: if the overrides or flags cannot work.
    """
    config = compose(args.words, config_dir=args.config_dir)
    require_whole_run(config)
    together, picture = groups(args.together), picture_file(args.picture)
    stream = sys.stderr if args.json else sys.stdout
    try:
        ablation = _measure(config, args, together, lambda line: say(line, file=stream, flush=True))
    except Sentence:
        raise
    except Exception as error:  # of the user's code
        from accel.cli.tracebacks import plugin_at_fault, user_traceback

        say(f"{plugin_at_fault(error)}{user_traceback(error)}", file=sys.stderr)
        return FAILED
    flags = [] if args.config_dir is None else ["--config-dir", args.config_dir]
    words = [*program_name("train").split(), *flags, *kept_words(config.overrides, ablation.left_out)]
    ablation = ablation.with_command(command_line(words))
    if picture is not None:
        try:
            ablation.draw(picture)
        except OSError as error:
            reason = disk_errors.disk_reason(error)
            raise ConfigError(f"--picture {picture}: cannot write there ({reason}); name another file") from None
    if args.json:
        say(json.dumps(ablation.to_dict(), indent=1, allow_nan=False))
    else:
        say()
        VisibleConsole(markup=False, highlight=False, soft_wrap=not sys.stdout.isatty()).print(ablation)
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


def require_whole_run(config: Config) -> None:
    """Raise ConfigError for what a run that is only tried out does not heed."""
    if torchrun.world_size() > 1:
        raise ConfigError("ablate measures one process; start it without torchrun")
    for name in ("dry_run", "resume", "out"):
        if getattr(config.settings, name):
            raise ConfigError(f"{name} has no effect on an ablation, which begins anew and writes no run; leave it out")


def groups(text: str | None) -> list[list[str]]:
    """Return the names in `--together`: `a+b,c+d` is two groups. Raise ConfigError for a group of one.

    >>> groups("onecycle+lamb,amp+channels_last")
    [['onecycle', 'lamb'], ['amp', 'channels_last']]
    """
    named = [[name.strip() for name in group.split("+")] for group in text.split(",")] if text else []
    if any(len(names) < 2 or not all(names) for names in named):
        raise ConfigError(f"--together {text}: name two plugins or more with + between them, such as onecycle+lamb")
    return named


def picture_file(text: str | None) -> Path | None:
    """Return the file of the picture. Raise ConfigError before anything is measured if it cannot be written."""
    if text is None:
        return None
    file = Path(text).expanduser()
    if not file.name or os.path.isdir(file):
        raise ConfigError(f"--picture {text} names no file; name one, such as ablation.svg")
    if file.suffix != ".svg":
        raise ConfigError(f"--picture {text}: the picture is an SVG; end its name with .svg")
    if not os.path.isdir(file.parent):
        raise ConfigError(f"--picture {text}: there is no folder {file.parent} to write in; make it, or name another file")
    return file
