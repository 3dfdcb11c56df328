"""The plugins of accel and of third parties, found by name without importing them.

A package adds plugins through an entry point of the group `accel.plugins` that names the package. Its
`conf/plugins/NAME.yaml` names the class of the plugin NAME by `_target_`.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from accel.errors import ConfigError, nearest
from accel.schema import source_text
from accel.schema.signature import Signature
from accel.schema.signature_reader import load_class, read_signature

__all__ = [
    "FOLDER",
    "GROUP",
    "builtin_target",
    "class_name",
    "load",
    "names",
    "plugin_signature",
    "target",
    "targets",
    "third_party_folders",
]

FOLDER = Path(__file__).parents[1] / "plugins"
GROUP = "accel.plugins"


@cache
def third_party_folders() -> dict[str, Path]:
    """Return the `conf` folder of each package that adds plugins, by package. A package without one is left out."""
    folders = {}
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        package = entry.value.partition(":")[0]
        init_file = source_text.locate(package)
        if init_file is not None and (init_file.parent / "conf").is_dir():
            folders[package] = init_file.parent / "conf"
    return folders


def targets() -> dict[str, str]:
    """Return the dotted class name of each plugin, by the plugin's name, sorted."""
    classes = {}
    for conf in third_party_folders().values():
        for path in sorted((conf / "plugins").glob("*.yaml")):
            match = re.search(r"^_target_:\s*([\w.]+)", path.read_text(encoding="utf-8"), re.MULTILINE)
            if match:
                classes[path.stem] = match.group(1)
    for path in FOLDER.glob("[!_]*.py"):
        classes[path.stem] = builtin_target(path.stem)
    return dict(sorted(classes.items()))


def builtin_target(name: str) -> str:
    """Return the dotted class name of a plugin that comes with accel."""
    return f"accel.plugins.{name}.{class_name(name)}"


def target(name: str, on: Sequence[str] = ()) -> str:
    """Return the dotted class name of the plugin called `name`.

    Args:
        name: the name.
        on: names of plugins that are in use, which a wrong name cannot stand for.

    Raises:
        ConfigError: for a name that no plugin has.
    """
    if name.isidentifier() and not name.startswith("_") and (FOLDER / f"{name}.py").exists():
        return builtin_target(name)  # one file is read, and not all of them
    classes = targets()
    if name not in classes:
        hint = nearest(name, classes, on) or "; python -m accel plugins lists them"
        raise ConfigError(f"no plugin is called {name!r}{hint}")
    return classes[name]


@cache  # no run changes the files of accel
def class_name(name: str) -> str:
    """Return the class of accel/plugins/NAME.py: the one whose name, in small letters, is NAME without underscores."""
    text = source_text.read(f"accel.plugins.{name}")
    assert text is not None
    classes = [key for key, node in text.names.items() if isinstance(node, ast.ClassDef)]
    return next((key for key in classes if key.lower() == name.replace("_", "")), name)


def names() -> list[str]:
    """Return the names of all plugins, sorted."""
    return list(targets())


def plugin_signature(name: str) -> Signature:
    """Return the signature of the plugin called `name`. Raise ConfigError for a name that no plugin has."""
    return read_signature(target(name))


def load(name: str, on: Sequence[str] = ()) -> type[Any]:
    """Import and return the class of the plugin called `name`. The arguments, and what is raised, are those of `target`."""
    return load_class(target(name, on))
