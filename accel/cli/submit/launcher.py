"""Launchers of submitit, as they are typed for Hydra: where the jobs run, and how many ranks each node has."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from accel.errors import ConfigError

__all__ = ["KINDS", "NUMBERS", "PACKAGE", "Launcher", "read_launcher"]

PACKAGE = "hydra_plugins.hydra_submitit_launcher"
KINDS = {f"{PACKAGE}.submitit_launcher.SlurmLauncher": "slurm", f"{PACKAGE}.submitit_launcher.LocalLauncher": "local"}
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


def read_launcher(name: str, kind: str, composed: Any, words: Sequence[str]) -> Launcher:
    """Return a launcher of submitit's.

    Args:
        name: by which it was chosen.
        kind: `"slurm"` or `"local"`.
        composed: Hydra's whole config.
        words: overrides of the launcher, for the message.

    Raises:
        ConfigError: if a setting cannot be.
    """
    launcher = Launcher(name, kind, composed)
    for key in NUMBERS:
        value = composed.hydra.launcher[key]
        if value < 1:
            raise ConfigError(f"hydra.launcher.{key} must be a whole number from 1, not {value}")
    try:
        launcher.settings(Path("base"))
    except OmegaConfBaseException as error:
        word = words[-1] if words else launcher.as_typed
        raise ConfigError(f"{word}: {' '.join(str(error).partition(chr(10))[0].split())}") from None
    return launcher
