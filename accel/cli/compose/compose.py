"""Composing and checking, in one go: for the command line, and for notebooks."""

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
from accel.cli.compose.hydra_session import Entry, Session, session
from accel.errors import ConfigError, nearest

__all__ = ["compose", "compose_job", "finish"]


def compose(args: Iterable[str] = (), *, config_dir: str | None = None, config_path: str | None = None) -> Config:
    """The configuration that the command line would make of `args`, checked and typed.

    Leaves no trace in Hydra's global state. Raises ConfigError with the sentence that the command line would print.

    >>> compose(["+plugins=[amp]", "epochs=3"]).plugins["amp"].settings["dtype"]
    'bfloat16'
    """
    with session(config_dir, config_path) as opened:
        return compose_job(opened, list(args))


def compose_job(opened: Session, typed: Sequence[str], cuda: bool | None = None) -> Config:
    """One job's config, composed and checked, for a machine with or without GPUs; None is this one."""
    return finish(opened, overrides.normalise(opened, typed), cuda)


def finish(opened: Session, normal: overrides.Normal, cuda: bool | None = None) -> Config:
    """Composes what was put in order, and checks it."""
    if "" not in sys.path and os.getcwd() not in sys.path:  # a task or plugin may live in the current directory
        sys.path.insert(0, os.getcwd())
    plain, entries = explain(opened, normal.overrides, lambda given: _compose(opened, given))
    _switch_off(opened, plain.get("plugins"), normal.off)
    config = Checker(opened, entries, normal, plain, cuda).config()
    config.text = OmegaConf.to_yaml(OmegaConf.create(config.plain()))
    return config


def _compose(opened: Session, given: Sequence[str]) -> tuple[dict[Any, Any], list[Entry]]:
    config, entries = opened.compose(given)
    plain = OmegaConf.to_container(config, resolve=True)
    assert isinstance(plain, dict)
    return plain, entries


def _switch_off(opened: Session, plugins: Any, off: Sequence[str]) -> None:
    for name in off:
        if overrides.is_bundle(opened, name):
            raise ConfigError(f"~plugins.{name}: {name} only lists plugins; leave it out, or switch off one that it lists")
        on = plugins if isinstance(plugins, dict) else {}
        if on.pop(name, None) is None and name not in opened.options("plugins"):
            known = [*map(str, on), *opened.options("plugins")]
            raise ConfigError(f"~plugins.{name}: no plugin is called {name!r}{nearest(name, known)}")
