"""accel trains PyTorch models faster, one plugin at a time, and exactly."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from accel.system.deprecated_paths import install as install_old_paths

if TYPE_CHECKING:
    from accel.cli.compose.compose import compose
    from accel.errors import ConfigError, Interrupted
    from accel.trainer import Trainer

__version__ = "0.1.0"
__all__ = ["ConfigError", "Interrupted", "Trainer", "__version__", "compose"]

HOMES = {
    "Trainer": "accel.trainer",
    "ConfigError": "accel.errors",
    "Interrupted": "accel.errors",
    "compose": "accel.cli.compose.compose",
}
"""Imported when first asked for: torch takes seconds, and Hydra is for the command line alone."""

install_old_paths()


def __getattr__(name: str) -> Any:
    if name in HOMES:
        return getattr(import_module(HOMES[name]), name)
    raise AttributeError(f"module 'accel' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
