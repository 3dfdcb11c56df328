"""Launchers of submitit, as they are typed for Hydra: where the jobs run, and how many ranks each node has."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf, open_dict

from accel.cli.compose import overrides
from accel.cli.compose.hydra_session import Session
from accel.errors import ConfigError, nearest
from accel.system.machine import importable

__all__ = ["KINDS", "NAMES", "NUMBERS", "PACKAGE", "WORD", "Launcher", "read_launcher", "split_words"]

PACKAGE = "hydra_plugins.hydra_submitit_launcher"
KINDS = {f"{PACKAGE}.submitit_launcher.SlurmLauncher": "slurm", f"{PACKAGE}.submitit_launcher.LocalLauncher": "local"}
NAMES = ("submitit_slurm", "submitit_local")
WORD = re.compile(r"\++hydra[/.]launcher\b|hydra[/.]launcher\b")
NUMBERS = ("nodes", "tasks_per_node", "timeout_min")
"""Settings that must be 1 or more, which Hydra does not check."""


@dataclass(frozen=True)
class Launcher:
    """One of submitit's launchers with its checked settings.

    Args:
        name: such as `submitit_slurm`, or a config file of the user's.
        kind: `"slurm"` or `"local"`.
        composed: Hydra's whole config, which holds the launcher's settings.
    """

    name: str
    kind: str
    composed: Any = field(repr=False)

    def settings(self, base: Path) -> dict[str, Any]:
        """Return the launcher's settings by Hydra's names, with `base` for `${hydra.sweep.dir}`."""
        with open_dict(self.composed):
            self.composed.hydra.sweep.dir = str(base)
        settings: dict[str, Any] = OmegaConf.to_container(self.composed.hydra.launcher, resolve=True)  # type: ignore[assignment]
        return {key: value for key, value in settings.items() if key != "_target_"}

    @property
    def as_typed(self) -> str:
        """The override that chooses it."""
        return f"hydra/launcher={self.name}"

    @property
    def nodes(self) -> int:
        """Machines of one job."""
        return int(self.composed.hydra.launcher.nodes)

    @property
    def gpus(self) -> int:
        """GPUs of each node, by whichever of the settings asks for them; 0 if none does."""
        settings = self.composed.hydra.launcher
        gres = re.search(r"\bgpu(?::[^:,]+)?:(\d+)", settings.get("gres") or "")
        by_tasks = int(settings.get("gpus_per_task") or 0) * int(settings.tasks_per_node)
        return int(settings.gpus_per_node or by_tasks or (gres[1] if gres else 0))

    @property
    def ranks(self) -> int:
        """Processes of each node: as many as its tasks if there are several, else one for each GPU, else one."""
        tasks = int(self.composed.hydra.launcher.tasks_per_node)
        return tasks if tasks > 1 else max(self.gpus, 1)


def split_words(typed: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the overrides that choose a launcher or set it, and all others."""
    return [word for word in typed if WORD.match(word)], [word for word in typed if not WORD.match(word)]


def read_launcher(session: Session, words: Sequence[str]) -> Launcher:
    """Return the launcher that `words` choose and set.

    Raises:
        ConfigError: if it is not submitit's, or is not installed, or a setting does not exist or fit.
    """
    for text, override in zip(words, overrides.parse(session, words), strict=True):
        if override.is_sweep_override():
            raise ConfigError(f"{text} names several values; all jobs of a multirun have one launcher, with the same settings")
    chosen = [word for word in words if "/" in word.partition("=")[0]]
    if not chosen:
        raise ConfigError(f"{words[0]} has no effect without hydra/launcher=submitit_slurm, or hydra/launcher=submitit_local")
    name = chosen[-1].partition("=")[2]
    if name in NAMES and not importable(PACKAGE):
        raise ConfigError(f"hydra/launcher={name} needs the package hydra-submitit-launcher: pip install 'accel-train[slurm]'")
    no_effect = f"hydra/launcher={name} has no effect: accel starts the jobs itself, or hands them to {' or '.join(NAMES)}"
    if name not in session.options("hydra/launcher"):
        raise ConfigError(f"no launcher is called {name!r}{hint}" if (hint := nearest(name, NAMES)) else no_effect)
    group = f"hydra/launcher={name}"
    plain = _composed(session, [group])
    kind = KINDS.get(str(plain.hydra.launcher.get("_target_")))
    if kind is None:
        raise ConfigError(no_effect)
    settings = [word for word in words if word not in chosen]
    _require_known(settings, [str(key) for key in plain.hydra.launcher if key != "_target_"])
    launcher = Launcher(name, kind, _composed(session, [group, *settings]) if settings else plain)
    for key in NUMBERS:
        value = launcher.composed.hydra.launcher[key]
        if value < 1:
            raise ConfigError(f"hydra.launcher.{key} must be a whole number from 1, not {value}")
    return launcher


def _require_known(settings: Sequence[str], known: Sequence[str]) -> None:
    """Raise ConfigError if an override sets something that is not among the `known` settings."""
    for text in settings:
        key = re.sub(r"^\+*hydra\.launcher\.?", "", text.partition("=")[0]).partition(".")[0]
        if key not in known:
            hint = nearest(key, known) or "; for sbatch alone, write +hydra.launcher.additional_parameters.NAME=VALUE"
            raise ConfigError(f"{text}: {key or 'nothing'} is no setting of the launcher{hint}")


def _composed(session: Session, words: list[str]) -> Any:
    """Return Hydra's config, in which every interpolation resolves. Raise ConfigError that names the word at fault."""
    try:
        composed = session.compose_multirun(words)
        Launcher("", "", composed).settings(Path("base"))
        return composed
    except Exception as error:
        for word in words[1:] if len(words) > 2 else ():  # Hydra does not say which one it was
            _composed(session, [words[0], word])
        raise ConfigError(f"{words[-1]}: {' '.join(str(error.__cause__ or error).partition(chr(10))[0].split())}") from None
