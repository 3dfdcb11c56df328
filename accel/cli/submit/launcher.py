"""Hydra's launchers of submitit, as they were typed: where the jobs are to run, and how many ranks each node has."""

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

__all__ = ["KINDS", "NAMES", "NUMBERS", "PACKAGE", "WORD", "Launcher", "read", "split"]

PACKAGE = "hydra_plugins.hydra_submitit_launcher"
KINDS = {f"{PACKAGE}.submitit_launcher.SlurmLauncher": "slurm", f"{PACKAGE}.submitit_launcher.LocalLauncher": "local"}
NAMES = ("submitit_slurm", "submitit_local")
WORD = re.compile(r"\++hydra[/.]launcher\b|hydra[/.]launcher\b")
NUMBERS = ("nodes", "tasks_per_node", "timeout_min")
"""Settings that Hydra lets be 0 or less."""


@dataclass(frozen=True)
class Launcher:
    """One of submitit's launchers, with its settings, all of them checked."""

    name: str
    """As it was typed, such as `submitit_slurm`."""
    kind: str
    """`"slurm"` or `"local"`."""
    composed: Any = field(repr=False)
    """Hydra's whole config, in which the launcher's settings stand."""

    def settings(self, base: Path) -> dict[str, Any]:
        """The launcher's settings by Hydra's names; `${hydra.sweep.dir}` in them is `base`."""
        with open_dict(self.composed):
            self.composed.hydra.sweep.dir = str(base)
        found: dict[str, Any] = OmegaConf.to_container(self.composed.hydra.launcher, resolve=True)  # type: ignore[assignment]
        return {key: value for key, value in found.items() if key != "_target_"}

    @property
    def said(self) -> str:
        """As it is typed."""
        return f"hydra/launcher={self.name}"

    @property
    def nodes(self) -> int:
        """How many machines one job has."""
        return int(self.composed.hydra.launcher.nodes)

    @property
    def gpus(self) -> int:
        """GPUs of each node that are asked for, by whichever of the settings."""
        given = self.composed.hydra.launcher
        of_gres = re.search(r"\bgpu(?::[^:,]+)?:(\d+)", given.get("gres") or "")
        each = int(given.get("gpus_per_task") or 0) * int(given.tasks_per_node)
        return int(given.gpus_per_node or each or (of_gres[1] if of_gres else 0))

    @property
    def ranks(self) -> int:
        """Processes of each node: as many as tasks where several are asked for, else one for each GPU, else one."""
        tasks = int(self.composed.hydra.launcher.tasks_per_node)
        return tasks if tasks > 1 else max(self.gpus, 1)


def split(typed: Sequence[str]) -> tuple[list[str], list[str]]:
    """The words that choose a launcher and set it, and all the others."""
    ours = [word for word in typed if WORD.match(word)]
    return ours, [word for word in typed if not WORD.match(word)]


def read(session: Session, words: Sequence[str]) -> Launcher:
    """The launcher that `words` ask for.

    Raises:
        ConfigError: for one that is not submitit's, one that is not installed, and settings that it has not.
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
    others = f"hydra/launcher={name} has no effect: accel starts the jobs itself, or hands them to {' or '.join(NAMES)}"
    if name not in session.options("hydra/launcher"):
        raise ConfigError(f"no launcher is called {name!r}{hint}" if (hint := nearest(name, NAMES)) else others)
    group = f"hydra/launcher={name}"
    plain = _composed(session, [group])
    kind = KINDS.get(str(plain.hydra.launcher.get("_target_")))
    if kind is None:
        raise ConfigError(others)
    settings = [word for word in words if word not in chosen]
    _known(settings, [str(key) for key in plain.hydra.launcher if key != "_target_"])
    found = Launcher(name, kind, _composed(session, [group, *settings]) if settings else plain)
    for key in NUMBERS:
        value = found.composed.hydra.launcher[key]
        if value < 1:
            raise ConfigError(f"hydra.launcher.{key} must be a whole number from 1, not {value}")
    return found


def _known(settings: Sequence[str], known: Sequence[str]) -> None:
    for text in settings:
        key = re.sub(r"^\+*hydra\.launcher\.?", "", text.partition("=")[0]).partition(".")[0]
        if key not in known:
            hint = nearest(key, known) or "; for sbatch alone, write +hydra.launcher.additional_parameters.NAME=VALUE"
            raise ConfigError(f"{text}: {key or 'nothing'} is no setting of the launcher{hint}")


def _composed(session: Session, words: list[str]) -> Any:
    """Hydra's config, every interpolation tried. Raises ConfigError that names the word at fault."""
    try:
        found = session.whole(words)
        Launcher("", "", found).settings(Path("base"))
        return found
    except Exception as error:
        for word in words[1:] if len(words) > 2 else ():  # Hydra does not say which one it was
            _composed(session, [words[0], word])
        raise ConfigError(f"{words[-1]}: {' '.join(str(error.__cause__ or error).partition(chr(10))[0].split())}") from None
