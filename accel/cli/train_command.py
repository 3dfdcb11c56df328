"""The subcommand `train`, which is `python -m accel.train`: from flags and overrides to runs."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Literal

from accel.cli.arguments import CONFIG_FLAGS, Flag, Usage, parse
from accel.cli.completion.override_candidates import override_candidates
from accel.cli.exit_codes import exit_code
from accel.errors import ConfigError
from accel.report.terminal import say
from accel.system.stop_signals import StopSignals

if TYPE_CHECKING:
    from accel.cli.compose.hydra_session import Session
    from accel.cli.compose.hydra_settings import HydraSettings
    from accel.cli.parallel.joblib_launcher import JoblibLauncher
    from accel.cli.submit.launcher import Launcher

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
    from accel.cli.compose.config_source import ConfigSource
    from accel.cli.compose.hydra_session import session
    from accel.cli.compose.hydra_settings import read_hydra_settings
    from accel.cli.parallel.choose_launcher import choose_launcher

    args = parse_flags(typed)
    source = ConfigSource.of(args)
    with session(*source) as opened:
        with StopSignals(at_once=True):
            if _answer_page(opened, args):
                return 0
            hydra, words = read_hydra_settings(opened, args.overrides, args.multirun)
            chosen = choose_launcher(opened, hydra)
            if not hydra.has_sweeper:
                start = _checked_runs(opened, hydra, chosen, words, source.words)
        if hydra.has_sweeper:  # it composes one trial after the other
            from accel.cli.sweep.sweeper import sweep

            return sweep(opened, hydra, chosen, words, source.words)
    return start()


def _answer_page(opened: Session, args: Namespace) -> bool:
    """Print what a flag asks for in place of runs; return whether one does."""
    from accel.cli.compose import hydra_pages
    from accel.cli.train_help import train_help

    if args.help:
        say(train_help(opened, USAGE))
    elif args.shell_completion:
        hydra_pages.show_completion(opened, args.overrides)
    elif args.hydra_help or args.info:
        hydra_pages.show_hydra_page(opened, args)
    elif args.cfg:
        hydra_pages.show_config(opened, args)
    else:
        return False
    return True


def _checked_runs(
    opened: Session, hydra: HydraSettings, chosen: Launcher | JoblibLauncher | None, words: Sequence[str], flags: Sequence[str]
) -> Callable[[], int]:
    """Return the runs, all checked before the first starts, as a function that starts them and returns the exit code.

    Args:
        opened: finds config files.
        hydra: Hydra's own settings.
        chosen: their launcher.
        words: all other overrides.
        flags: flags that a resumed run needs again.
    """
    from accel.cli.compose import compose, overrides
    from accel.cli.parallel.joblib_launcher import JoblibLauncher

    cuda = None if chosen is None or isinstance(chosen, JoblibLauncher) else chosen.gpus > 0
    many = hydra.multirun
    jobs = overrides.jobs(opened, words) if many else [list(words)]
    configs = compose.compose_jobs(opened, jobs, cuda) if many else [compose.compose_job(opened, jobs[0], cuda)]
    folders = hydra.folders(jobs) if many else []
    if chosen is None or isinstance(chosen, JoblibLauncher):
        from accel.cli.launch import launch

        return partial(launch, configs, flags, folders, chosen)
    from accel.cli.submit.submit import submit

    return partial(submit, chosen, configs, flags, folders)


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
