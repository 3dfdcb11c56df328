"""From arguments to an exit code: 0 done, 1 the run failed, 2 something typed cannot work, 75 stopped, 130 interrupted."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from collections.abc import Sequence
from typing import Any, NoReturn

from omegaconf import OmegaConf

import accel
from accel.cli import help_pages, torchrun
from accel.cli.compose import compose, overrides
from accel.cli.compose.config import Config
from accel.cli.compose.hydra_session import Session, parser, session
from accel.cli.job import INTERRUPTED, launch
from accel.cli.submit import launcher
from accel.errors import ConfigError, Interrupted, nearest

__all__ = ["command", "flags", "main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Does what the arguments say; never raises for anything that was typed."""
    typed = sys.argv[1:] if argv is None else list(argv)
    try:
        return command(typed)
    except ConfigError as error:
        torchrun.defer_to_rank_zero()
        print(f"accel: error: {error}", file=sys.stderr)
        return 2
    except Interrupted as stop:  # in the warm-up of a multirun, before there is anything to tell of
        print(f"accel: {stop}", file=sys.stderr)
        return stop.code
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # the reader has seen enough: `accel-train --help | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def command(typed: Sequence[str]) -> int:
    """The same, raising ConfigError."""
    args = flags(typed)
    with session(args.config_dir, args.config_path, args.config_name) as opened:
        if args.help:
            print(help_pages.help_text(opened))
        elif args.hydra_help or args.info or args.shell_completion:
            _hydra(opened, args)
        elif args.cfg:
            _cfg(opened, args)
        else:
            hydras, args.overrides = launcher.split(args.overrides)
            there = launcher.read(opened, hydras) if hydras else None
            configs = _configs(opened, args, None if there is None else there.gpus > 0)
        if args.help or args.hydra_help or args.info or args.shell_completion or args.cfg:
            sys.stdout.flush()
            return 0
    if there is not None:
        from accel.cli.submit.submit import submit

        return submit(there, configs, _flags_kept(args), many=args.multirun)
    return launch(configs, _flags_kept(args), many=args.multirun)


def flags(typed: Sequence[str]) -> Namespace:
    """The flags and the overrides. Raises ConfigError for a flag that there is not."""
    reader = parser()
    known = [text for action in reader._actions for text in action.option_strings]

    def fail(message: str) -> NoReturn:
        unknown = [word for word in typed if word.startswith("-") and word.partition("=")[0] not in known]
        if unknown:
            word = unknown[0].partition("=")[0]
            raise ConfigError(f"no flag is called {word!r}{nearest(word, known)}; --help lists what there is")
        raise ConfigError(message)

    reader.error = fail  # type: ignore[method-assign]
    if "--version" in typed:
        print(f"accel {accel.__version__}")
        raise SystemExit(0)
    args = reader.parse_intermixed_args(typed)
    if not args.cfg and (args.package or args.resolve):
        flag = "--package" if args.package else "--resolve"
        raise ConfigError(f"{flag} has no effect without --cfg job; add that, or leave {flag} out")
    if args.experimental_rerun is not None:
        raise ConfigError("--experimental-rerun would load a pickle, which can run anything; --config-path takes a run's directory")
    return args


def _configs(opened: Session, args: Namespace, cuda: bool | None) -> list[Config]:
    """Every job, composed and checked before the first of them starts, on a machine with or without GPUs; None is this one."""
    if not args.multirun:
        return [compose.compose_job(opened, args.overrides, cuda)]
    jobs = overrides.jobs(opened, args.overrides)
    configs = []
    for number, job in enumerate(jobs, start=1):
        try:
            configs.append(compose.compose_job(opened, job, cuda))
        except ConfigError as error:
            raise ConfigError(f"job {number} of {len(jobs)} ({' '.join(job)}): {error}") from None
    return configs


def _cfg(opened: Session, args: Namespace) -> None:
    """Prints the config as it would run, checked, or Hydra's own."""
    hydras, words = launcher.split(args.overrides)
    cuda = launcher.read(opened, hydras).gpus > 0 if hydras else None
    normal = overrides.normalise(opened, words)
    config = compose.finish(opened, normal, cuda)
    if args.cfg != "job":
        opened.hydra.show_cfg(opened.name, [*hydras, *normal.overrides], args.cfg, None, args.resolve)
        return
    found: Any = config.plain()
    for key in (args.package or "").split("."):
        if key and (not isinstance(found, dict) or key not in found):
            raise ConfigError(
                f"--package {args.package}: the config has no {key!r}{nearest(key, found if isinstance(found, dict) else [])}"
            )
        found = found[key] if key else found
    print(OmegaConf.to_yaml(OmegaConf.create(found)) if isinstance(found, dict) else found)


def _hydra(opened: Session, args: Namespace) -> None:
    """Hydra's own pages."""
    if args.shell_completion:
        try:
            opened.hydra.shell_completion(opened.name, args.overrides)
        except ValueError as error:
            raise ConfigError(f"--shell-completion: {' '.join(str(error).split())}; write install=bash, zsh or fish") from None
    elif args.hydra_help:
        opened.hydra.hydra_help(None, parser(), Namespace(overrides=[]))
    else:
        given = overrides.normalise(opened, args.overrides).overrides
        opened.hydra.show_info(args.info, opened.name, given)


def _flags_kept(args: Namespace) -> list[str]:
    """The flags that a resumed run needs again."""
    named = {"--config-dir": args.config_dir, "--config-path": args.config_path, "--config-name": args.config_name}
    return [word for flag, value in named.items() if value is not None for word in (flag, value)]
