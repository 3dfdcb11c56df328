"""Composition and check in one step: for the command line, and for notebooks."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from omegaconf import OmegaConf

from accel.cli.compose import overrides
from accel.cli.compose.checker import Checker
from accel.cli.compose.config import Config
from accel.cli.compose.explain import explain
from accel.cli.compose.hydra_session import ConfigFile, Session, session
from accel.errors import ConfigError, nearest

__all__ = ["compose", "compose_job", "finish"]


def compose(args: Iterable[str] = (), *, config_dir: str | None = None, config_path: str | None = None) -> Config:
    """Return the configuration that the command line would make of `args`, checked and typed.

    Hydra's global state is afterwards what it was.

    Args:
        args: overrides, such as `"epochs=3"`.
        config_dir: a directory of config files that go before accel's own.
        config_path: a run directory, whose `config.yaml` to begin with.

    Raises:
        ConfigError: with the sentence that the command line would print.

    >>> compose(["+plugins=[amp]", "epochs=3"]).plugins["amp"].settings["dtype"]
    'bfloat16'
    """
    with session(config_dir, config_path) as opened:
        return compose_job(opened, list(args))


def compose_job(opened: Session, typed: Sequence[str], cuda: bool | None = None) -> Config:
    """Return the checked config of one job.

    Args:
        opened: finds config files.
        typed: the overrides.
        cuda: whether the machine that is going to train has GPUs; None is this machine.

    Raises:
        ConfigError: if an override or a config file cannot work.
    """
    return finish(opened, overrides.normalise(opened, typed), cuda)


def finish(opened: Session, normal: overrides.JobOverrides, cuda: bool | None = None) -> Config:
    """Return the checked config of overrides that are in order already; else as `compose_job`."""
    if "" not in sys.path and os.getcwd() not in sys.path:  # a task or plugin may be in the current directory
        sys.path.insert(0, os.getcwd())
    composed, files = explain(opened, normal.for_hydra, lambda words: _compose(opened, words))
    _switch_off(opened, composed.get("plugins"), normal.disabled)
    config = Checker(opened, files, normal, composed, cuda).config()
    config.text = OmegaConf.to_yaml(OmegaConf.create(config.to_dict()))
    return config


def _compose(opened: Session, words: Sequence[str]) -> tuple[dict[Any, Any], list[ConfigFile]]:
    """Return the composed config, interpolations resolved, and its files. Raise what Hydra and OmegaConf raise."""
    config, files = opened.compose(words)
    composed = OmegaConf.to_container(config, resolve=True)
    assert isinstance(composed, dict)
    return composed, files


def _switch_off(opened: Session, plugins: Any, disabled: Sequence[str]) -> None:
    """Take plugins out of the composed ones. Raise ConfigError if one is a bundle, or does not exist."""
    for name in disabled:
        if overrides.is_bundle(opened, name):
            raise ConfigError(f"~plugins.{name}: {name} only lists plugins; leave it out, or switch off one that it lists")
        composed = plugins if isinstance(plugins, dict) else {}
        if composed.pop(name, None) is None and name not in opened.options("plugins"):
            hint = nearest(name, [*map(str, composed), *opened.options("plugins")])
            raise ConfigError(f"~plugins.{name}: no plugin is called {name!r}{hint}")
