"""Which plugins there are, found by name without importing them: those that come with accel and those of third parties.

A package adds plugins through an entry point of the group `accel.plugins` that names the package: its `conf/plugins/NAME.yaml`
says by `_target_` which class NAME is.
"""

from __future__ import annotations

import ast
import re
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from accel.errors import ConfigError, nearest
from accel.schema import source_text
from accel.schema.signature import Signature, signature
from accel.schema.signature import load as load_class

FOLDER = Path(__file__).parents[1] / "plugins"
GROUP = "accel.plugins"


@cache
def third_party_folders() -> dict[str, Path]:
    """The `conf` folder of each package that adds plugins, by the name of the package. A package without one is left out."""
    found = {}
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        package = entry.value.partition(":")[0]
        home = source_text.locate(package)
        if home is not None and (home.parent / "conf").is_dir():
            found[package] = home.parent / "conf"
    return found


def targets() -> dict[str, str]:
    """The class of each plugin, by the plugin's name."""
    found = {}
    for conf in third_party_folders().values():
        for path in sorted((conf / "plugins").glob("*.yaml")):
            line = re.search(r"^_target_:\s*([\w.]+)", path.read_text(encoding="utf-8"), re.MULTILINE)
            if line:
                found[path.stem] = line.group(1)
    for path in FOLDER.glob("[!_]*.py"):
        found[path.stem] = builtin_target(path.stem)
    return dict(sorted(found.items()))


def builtin_target(name: str) -> str:
    """The class of a plugin that comes with accel."""
    return f"accel.plugins.{name}.{class_name(name)}"


def target(name: str) -> str:
    """The class of the plugin called `name`. Raises ConfigError for a name that no plugin has."""
    if name.isidentifier() and not name.startswith("_") and (FOLDER / f"{name}.py").exists():
        return builtin_target(name)  # one file is read, and not all of them
    known = targets()
    if name not in known:
        raise ConfigError(f"no plugin is called {name!r}{nearest(name, known)}; python -m accel plugins lists them")
    return known[name]


def class_name(name: str) -> str:
    """The class in accel/plugins/NAME.py: the one whose name, in small letters, is NAME without underscores."""
    text = source_text.read(f"accel.plugins.{name}")
    assert text is not None
    classes = [found for found, node in text.names.items() if isinstance(node, ast.ClassDef)]
    return next((found for found in classes if found.lower() == name.replace("_", "")), name)


def names() -> list[str]:
    """The names of all plugins, sorted."""
    return list(targets())


def plugin_signature(name: str) -> Signature:
    """What the plugin called `name` is and takes. Raises ConfigError for a name that no plugin has."""
    return signature(target(name))


def load(name: str) -> type[Any]:
    """The class of the plugin called `name`, imported. Raises ConfigError for a name that no plugin has."""
    return load_class(target(name))
