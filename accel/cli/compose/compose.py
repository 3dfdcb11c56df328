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
from accel.cli.compose.hydra_session import Session, session
from accel.errors import ConfigError, nearest
from accel.system.calls.call_arguments import with_checked_arguments

__all__ = ["check", "compose", "compose_job", "compose_jobs", "finish"]


@with_checked_arguments
def compose(
    args: Iterable[str] = (), *, config_dir: str | None = None, config_path: str | None = None, config_name: str | None = None
) -> Config:
    """Return the configuration that the command line would make of `args`, checked and typed.

    Hydra's global state is afterwards what it was.

    Args:
        args: overrides, such as `"epochs=3"`.
        config_dir: a directory of config files that go before accel's own.
        config_path: a run directory, whose `config.yaml` to begin with.
        config_name: of another config to begin with than `config`.

    Raises:
        ConfigError: with the sentence that the command line would print.

    >>> compose(["+plugins=[amp]", "epochs=3"]).plugins["amp"].settings["dtype"]
    'bfloat16'
    """
    with session(config_dir, config_path, config_name) as opened:
        return compose_job(opened, list(args))


def compose_job(opened: Session, typed: Sequence[str], cuda: bool | None = None) -> Config:
    """Return the checked config of one job.

    Args:
        opened: finds config files.
        typed: the overrides.
        cuda: whether the machine that is going to train has GPUs; None is this machine.

    Raises:
        ConfigError: if an override or a config file cannot work, or is about a plugin that is off.
    """
    return finish(opened, overrides.normalise(opened, typed), cuda)


def compose_jobs(opened: Session, jobs: Sequence[Sequence[str]], cuda: bool | None = None) -> list[Config]:
    """Return the checked config of each job of a multirun. A plugin that is off in one job may be on in another.

    The arguments, and what is raised, are those of `compose_job`.
    """
    configs = []
    for number, job in enumerate(jobs, start=1):
        try:
            configs.append(check(opened, overrides.normalise(opened, job), cuda))
        except ConfigError as error:
            raise ConfigError(f"job {number} of {len(jobs)} ({' '.join(job)}): {error}") from None
    for name, sentence in configs[0].idle.items():
        if all(name in config.idle for config in configs):
            raise ConfigError(sentence)
    return configs


def finish(opened: Session, normal: overrides.JobOverrides, cuda: bool | None = None) -> Config:
    """Return the checked config of overrides that are in order already; else as `compose_job`."""
    config = check(opened, normal, cuda)
    for sentence in config.idle.values():
        raise ConfigError(sentence)
    return config


def check(opened: Session, normal: overrides.JobOverrides, cuda: bool | None = None) -> Config:
    """Return the checked config, whatever is `idle` in it; else as `finish`."""
    if "" not in sys.path and os.getcwd() not in sys.path:  # a task or plugin may be in the current directory
        sys.path.insert(0, os.getcwd())
    composed, files = explain(opened, normal.for_hydra, opened.compose)
    idle = _switch_off(opened, composed.get("plugins"), normal)
    config = Checker(opened, files, normal, composed, cuda).config()
    config.idle |= idle
    config.text = OmegaConf.to_yaml(OmegaConf.create(config.to_dict()))
    return config


def _switch_off(opened: Session, plugins: Any, normal: overrides.JobOverrides) -> dict[str, str]:
    """Take plugins out of the composed ones; return those that were off, or have settings, each with a sentence.

    Raises:
        ConfigError: if one is a bundle, or does not exist.
    """
    idle: dict[str, str] = {}
    composed = plugins if isinstance(plugins, dict) else {}
    for name in dict.fromkeys(normal.disabled):
        if overrides.is_bundle(opened, name):
            raise ConfigError(f"~plugins.{name}: {name} only lists plugins; leave it out, or switch off one that it lists")
        entry, options = composed.pop(name, None), opened.options("plugins")
        if entry is None and name not in options:
            raise ConfigError(f"~plugins.{name}: no plugin is called {name!r}{nearest(name, [*map(str, composed), *options])}")
        typed = next((text for text in normal.typed if text.lstrip("+").startswith(f"plugins.{name}.")), None)
        if typed is not None:
            idle[name] = f"{typed} has no effect: '~plugins.{name}' switches {name} off; leave one of the two out"
        elif not isinstance(entry, dict) or "_target_" not in entry:
            idle[name] = f"~plugins.{name} has no effect: {name} is not on; leave it out"
    return idle
