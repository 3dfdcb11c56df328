"""Which plugins there are, found by name without importing them."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from accel.errors import ConfigError, nearest

FOLDER = Path(__file__).with_name("plugins")


def names() -> list[str]:
    """The plugins that come with accel."""
    return sorted(path.stem for path in FOLDER.glob("[!_]*.py"))


def load(name: str) -> type[Any]:
    """The class of the plugin called `name`."""
    if name not in names():
        raise ConfigError(f"no plugin is called {name!r}{nearest(name, names())}")
    module = import_module(f"accel.plugins.{name}")
    found: type[Any] = next(value for key, value in vars(module).items() if key.lower() == name.replace("_", ""))
    return found
