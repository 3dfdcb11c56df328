"""The subcommand `train`, which is `python -m accel.train`: from flags and overrides to runs."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from accel.cli.arguments import CONFIG_FLAGS, Flag, Usage, parse
from accel.cli.completion.override_candidates import override_candidates
from accel.cli.exit_codes import exit_code
from accel.errors import ConfigError
from accel.report.terminal import say
from accel.system.stop_signals import StopSignals

if TYPE_CHECKING:
    from accel.cli.compose.config import Config
    from accel.cli.compose.hydra_session import Session

__all__ = ["INFO", "USAGE", "main", "parse_flags", "run_train"]

INFO = Literal["all", "config", "defaults", "defaults-tree", "plugins", "searchpath"]

USAGE = Usage(
    "train",
    "accel trains PyTorch models faster, one plugin at a time, and exactly.",
    ("[FLAG ...] [SETTING=VALUE ...]",),
    (
        Flag(("--multirun", "-m"), "run all combinations of the values, and compare"),
        Flag(("--cfg", "-c"), "print the composed config and stop", "KIND", Literal["job", "hydra", "all"]),
        Flag(("--package", "-p"), "with --cfg job: only this part, such as task", "KEY", seldom=True),
        Flag(("--resolve",), "with --cfg: fill in every ${...}", seldom=True),
        *CONFIG_FLAGS,
        Flag(("--info", "-i"), "how Hydra found a config: all, searchpath ...", "KIND", INFO, seldom=True),
        Flag(("--hydra-help",), "Hydra's own flags: --package, --resolve, --info ..."),
        Flag(("--shell-completion", "-sc"), "with install=SHELL: as accel completion SHELL", seldom=True),
    ),
    (
        ("'+plugins=[amp,clip]' epochs=3", "two plugins"),
        ("--multirun 'plugins=[],[amp]'", "two runs, and a table"),
        ("task=images task.root=DIR", "other data"),
        ("task._target_=mine.MyTrainer", "your own Trainer"),
        ("resume=auto", "go on with the newest"),
    ),
    complete=override_candidates,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Train according to `arguments`, those of the process by default; return the exit code. No typing mistake raises."""
    typed = sys.argv[1:] if arguments is None else list(arguments)
    return exit_code(lambda: run_train(typed))


def run_train(typed: Sequence[str]) -> int:
    """Do what flags and overrides ask for; return the exit code. Raise ConfigError if they cannot work."""
    from accel.cli.compose import hydra_pages
    from accel.cli.compose.config_source import ConfigSource
    from accel.cli.compose.hydra_session import session
    from accel.cli.compose.hydra_words import in_own_words
    from accel.cli.submit import launcher
    from accel.cli.sweep.words import asks_for_sweeper, without_basic
    from accel.cli.train_help import train_help

    args = parse_flags(typed)
    source = ConfigSource.of(args)
    args.overrides = in_own_words(without_basic(args.overrides), args.multirun)
    if asks_for_sweeper(args.overrides) and not (args.help or args.cfg or args.info or args.hydra_help or args.shell_completion):
        from accel.cli.sweep.sweeper import sweep

        with session(*source) as opened:
            return sweep(opened, args.overrides, source.words, args.multirun)
    with StopSignals(at_once=True), session(*source) as opened:
        if args.help:
            say(train_help(opened, USAGE))
        elif args.shell_completion:
            hydra_pages.show_completion(opened, args.overrides)
        elif args.hydra_help or args.info:
            hydra_pages.show_hydra_page(opened, args)
        elif args.cfg:
            hydra_pages.show_config(opened, args)
        else:
            launcher_words, args.overrides = launcher.split_words(args.overrides)
            chosen = launcher.read_launcher(opened, launcher_words) if launcher_words else None
            configs = _compose_jobs(opened, args, None if chosen is None else chosen.gpus > 0)
        if args.help or args.hydra_help or args.info or args.shell_completion or args.cfg:
            return 0
    if chosen is not None:
        from accel.cli.submit.submit import submit

        return submit(chosen, configs, source.words, many=args.multirun)
    from accel.cli.launch import launch

    return launch(configs, source.words, many=args.multirun)


def parse_flags(typed: Sequence[str]) -> Namespace:
    """Return flags and overrides, as Hydra's own parser reads them. Raise ConfigError if a flag does not exist or has no effect."""
    from accel.cli.compose.hydra_session import hydra_parser

    args = parse(hydra_parser(), typed, "train", settings=True)
    if not args.cfg and (args.package or args.resolve):
        flag = "--package" if args.package else "--resolve"
        raise ConfigError(f"{flag} has no effect without --cfg job; add that, or leave {flag} out")
    if args.experimental_rerun is not None:
        raise ConfigError("--experimental-rerun would load a pickle, which can run anything; --config-path takes a run's directory")
    return args


def _compose_jobs(opened: Session, args: Namespace, cuda: bool | None) -> list[Config]:
    """Return the config of every job, all checked before the first starts.

    Args:
        opened: finds config files.
        args: flags and overrides.
        cuda: whether the machine that is going to train has GPUs; None is this machine.
    """
    from accel.cli.compose import compose, overrides

    if not args.multirun:
        return [compose.compose_job(opened, args.overrides, cuda)]
    return compose.compose_jobs(opened, overrides.jobs(opened, args.overrides), cuda)
