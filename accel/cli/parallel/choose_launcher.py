"""The launcher that a command asks for, as it is typed for Hydra or chosen in a config file."""

from __future__ import annotations

from typing import Any

from omegaconf import OmegaConf

from accel.cli.compose.hydra_session import Session
from accel.cli.compose.hydra_settings import HydraSettings
from accel.cli.compose.hydra_words import key_of
from accel.cli.parallel import joblib_launcher
from accel.cli.parallel.joblib_launcher import JoblibLauncher
from accel.cli.submit.launcher import KINDS, Launcher, read_launcher
from accel.errors import ConfigError

__all__ = ["choose_launcher"]

BASIC = "hydra._internal.core_plugins.basic_launcher.BasicLauncher"
GROUP = "hydra/launcher"


def choose_launcher(opened: Session, hydra: HydraSettings) -> Launcher | JoblibLauncher | None:
    """Return the launcher of the jobs; None for one job after the other, here.

    A launcher that a config file chooses starts the jobs of a multirun. One run is started by it if it was typed.

    Raises:
        ConfigError: for a launcher that accel does not know, one that starts no single run, and settings that cannot be.
    """
    words = [word for word in hydra.typed if key_of(word).startswith("hydra.launcher")]
    if not hydra.is_used:
        return None
    settings, name = hydra.composed.hydra.launcher, str(hydra.composed.hydra.runtime.choices.get(GROUP))
    target, typed = str(settings.get("_target_")), next((word for word in words if "/" in word.partition("=")[0]), "")
    if target == BASIC:
        if words and not typed:
            raise ConfigError(f"{words[0]} has no effect without {GROUP}=joblib, {GROUP}=submitit_slurm or {GROUP}=submitit_local")
        return None
    if not hydra.multirun and not typed:
        return None
    if target in KINDS:
        return read_launcher(name, KINDS[target], hydra.composed, words)
    if target != joblib_launcher.TARGET:
        raise ConfigError(f"{GROUP}={name} has no effect: accel knows joblib, submitit_slurm and submitit_local")
    if not hydra.multirun:
        raise ConfigError(f"{typed} starts the jobs of a multirun, and this is one run: add --multirun, or leave it out")
    resolved: Any = OmegaConf.to_container(settings, resolve=True)
    return JoblibLauncher.of(resolved, _defaults(opened), hydra.resolved("hydra.job.name"))


def _defaults(opened: Session) -> dict[str, Any]:
    """Return joblib's settings as its package has them."""
    plain: Any = OmegaConf.to_container(opened.compose_multirun([f"{GROUP}=joblib"]).hydra.launcher)
    return dict(plain)
