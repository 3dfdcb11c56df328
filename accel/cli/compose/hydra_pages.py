"""Answers that need Hydra and no run: the composed config, Hydra's help, how a config was found, tab completion."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from typing import Any

from omegaconf import OmegaConf

from accel.cli.completion.shell_scripts import shell_script
from accel.cli.compose import compose, overrides
from accel.cli.compose.hydra_session import Session, hydra_parser
from accel.cli.compose.hydra_settings import read_hydra_settings
from accel.cli.parallel.choose_launcher import choose_launcher
from accel.cli.submit.launcher import Launcher
from accel.errors import ConfigError, nearest
from accel.report.terminal import say

__all__ = ["show_completion", "show_config", "show_hydra_page"]


def show_config(opened: Session, args: Namespace) -> None:
    """Print the checked config as it would run, or Hydra's own. Raise ConfigError if `--package` names nothing in it."""
    hydra, words = read_hydra_settings(opened, args.overrides, args.multirun)
    chosen = choose_launcher(opened, hydra)
    cuda = chosen.gpus > 0 if isinstance(chosen, Launcher) else None
    normal = overrides.normalise(opened, words)
    config = compose.finish(opened, normal, cuda)
    if args.cfg != "job":
        opened.hydra.show_cfg(opened.name, [*hydra.typed, *normal.for_hydra], args.cfg, None, args.resolve)
        return
    node: Any = config.to_dict()
    for key in filter(None, (args.package or "").split(".")):
        keys = list(node) if isinstance(node, dict) else []
        if key not in keys:
            raise ConfigError(f"--package {args.package}: the config has no {key!r}{nearest(key, keys)}")
        node = node[key]
    say(OmegaConf.to_yaml(OmegaConf.create(node)) if isinstance(node, dict) else node)


def show_hydra_page(opened: Session, args: Namespace) -> None:
    """Print Hydra's help, or how it found a config."""
    if args.hydra_help:
        opened.hydra.hydra_help(None, hydra_parser(), Namespace(overrides=[]))
    else:
        opened.hydra.show_info(args.info, opened.name, overrides.normalise(opened, args.overrides).for_hydra)


def show_completion(opened: Session, words: Sequence[str]) -> None:
    """Print the script for tab completion, which is accel's own, or answer a script that Hydra installed earlier.

    Raises:
        ConfigError: if the shell is none that is known.
    """
    action, _, shell = words[0].partition("=") if len(words) == 1 else ("", "", "")
    if action == "install":
        say(shell_script(shell), end="")
        return
    try:
        opened.hydra.shell_completion(opened.name, list(words))
    except ValueError as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"--shell-completion: {reason}; write install=bash, zsh or fish") from None
