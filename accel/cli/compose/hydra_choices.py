"""Launchers and sweepers of Hydra, by the names by which they are chosen: which there are, and the package that each needs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from accel.cli.compose import overrides
from accel.cli.compose.hydra_session import Session
from accel.errors import ConfigError, nearest
from accel.system.machine import importable

__all__ = ["GROUPS", "Extra", "missing_package", "require_choices"]


class Extra(NamedTuple):
    """Package that adds a choice to Hydra."""

    module: str
    package: str
    extra: str


SUBMITIT = Extra("hydra_plugins.hydra_submitit_launcher", "hydra-submitit-launcher", "slurm")
GROUPS = {
    "hydra/launcher": {
        "basic": None,
        "joblib": Extra("hydra_plugins.hydra_joblib_launcher", "hydra-joblib-launcher", "joblib"),
        "submitit_slurm": SUBMITIT,
        "submitit_local": SUBMITIT,
    },
    "hydra/sweeper": {
        "basic": None,
        "optuna": Extra("hydra_plugins.hydra_optuna_sweeper", "hydra-optuna-sweeper", "optuna"),
    },
}
"""Choices that accel knows, by their group, each with the package that it needs."""


def missing_package(group: str, name: str) -> str:
    """Return the sentence about a choice whose package is not installed; empty if it is, or needs none."""
    extra = GROUPS.get(group, {}).get(name)
    if extra is None or importable(extra.module):
        return ""
    return f"{group}={name} needs the package {extra.package}: pip install 'accel-train[{extra.extra}]'"


def require_choices(opened: Session, words: Sequence[str]) -> None:
    """Refuse a launcher or a sweeper that there is not, one whose package is not installed, and settings that it has not.

    Args:
        opened: finds config files.
        words: overrides of Hydra's settings.

    Raises:
        ConfigError: for the first of them.
    """
    for text, override in zip(words, overrides.parse(opened, words), strict=True):
        if override.is_sweep_override() and not text.lstrip("+").startswith("hydra.sweeper."):
            raise ConfigError(f"{text} names several values; all jobs of a multirun have Hydra's settings in common")
    for group, known in GROUPS.items():
        chosen = next((word.partition("=")[2] for word in reversed(words) if word.lstrip("+").startswith(f"{group}=")), None)
        if chosen is None:
            continue
        if (sentence := missing_package(group, chosen)) != "":
            raise ConfigError(sentence)
        if chosen not in opened.options(group):
            hint = nearest(chosen, known) or f"; accel knows {', '.join(known)}"
            raise ConfigError(f"no {group.rpartition('/')[2]} is called {chosen!r}{hint}")
        if group == "hydra/launcher":
            _require_settings(opened, chosen, words)


def _require_settings(opened: Session, launcher: str, words: Sequence[str]) -> None:
    """Raise ConfigError if an override sets something that the launcher has not, and Hydra would say so in its own words."""
    composed = opened.compose_multirun([f"hydra/launcher={launcher}"])
    known = [str(key) for key in composed.hydra.launcher if key != "_target_"]
    for text in words:
        if not re.match(r"\+*hydra\.launcher\b", text):
            continue
        key = re.sub(r"^\+*hydra\.launcher\.?", "", text.partition("=")[0]).partition(".")[0]
        if key not in known:
            slurm = "; for sbatch alone, write +hydra.launcher.additional_parameters.NAME=VALUE"
            other = slurm if "additional_parameters" in known else ""
            hint = nearest(key, known) or other
            raise ConfigError(f"{text}: {key or 'nothing'} is no setting of the launcher{hint}")
