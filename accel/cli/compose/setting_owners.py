"""The owner of a setting that was typed in the wrong place: `lr=0.1` and `--epochs 5`, as they have to be written."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields
from typing import Any

from accel.errors import MOST, ConfigError
from accel.schema import plugin_registry
from accel.schema.settings import NESTED, Settings, typed_name
from accel.schema.signature_reader import read_signature
from accel.system.shell_quoting import override

__all__ = ["OTHER_NAMES", "PLAINEST", "ROOTS", "flag_hint", "owner_hint", "written"]

ROOTS = ("plugins", "task", "experiment", "vars", "hydra", *NESTED, "resume")
"""Keys of a config that are no settings themselves, or have some inside."""
OTHER_NAMES = {"learning_rate": "lr", "wd": "weight_decay", "bs": "batch_size", "output_dir": "out"}
"""Names that settings have elsewhere, each with the one that it has here."""
PLAINEST = {"Optim": "sgd"}
"""The plugin to be named first for a setting that several plugins of a part have, none of which is on."""


def owner_hint(key: str, value: Any, composed: Mapping[str, Any]) -> str:
    """Return the clause that says where the setting `key` belongs, or which plugin is meant; empty if nothing has that name.

    Args:
        key: a name at the root of the config, or below `plugins`.
        value: its value; None if there is none to be written.
        composed: the composed config; of its plugins, those that are on have a `_target_`.
    """
    name, targets = OTHER_NAMES.get(key, key), plugin_registry.targets()
    run_settings = {typed_name(field.name) for field in fields(Settings)}
    if name in run_settings and name != key:
        return _suggestion([written(name, value)])
    if isinstance(value, str) and value in targets:
        return f"; to switch {value} on write '+plugins=[{value}]'"
    if key in targets:
        return f"; to switch {key} on write '+plugins=[{key}]'"
    plugins = composed.get("plugins")
    on = {str(plugin): entry for plugin, entry in plugins.items()} if isinstance(plugins, Mapping) else {}
    on = {plugin: entry for plugin, entry in on.items() if isinstance(entry, Mapping) and "_target_" in entry}
    places = [f"{group}.{name}" for group in (*NESTED, "resume") if f"{group}.{name}" in run_settings]
    task = composed.get("task")
    if isinstance(task, Mapping) and "_target_" in task and name in _settings(str(task["_target_"])):
        places.append(f"task.{name}")
    places += [f"plugins.{plugin}.{name}" for plugin, entry in on.items() if name in _settings(str(entry["_target_"]))]
    if places:
        return _suggestion([written(place, value) for place in places])
    owners = [plugin for plugin, target in targets.items() if name in _settings(target)]
    parts = {read_signature(targets[plugin]).part for plugin in owners}
    owners = [PLAINEST[part] for part in parts if PLAINEST.get(part) in owners] or owners
    return _suggestion([f"'+plugins=[{plugin}]' {written(f'plugins.{plugin}.{name}', value)}" for plugin in owners])


def flag_hint(command: str, arguments: Sequence[str], known: Collection[str]) -> str:
    """Return the sentence about the first flag among `arguments` that is a setting; empty if none is.

    Args:
        command: the name of the subcommand.
        arguments: the words of the command line.
        known: the flags that there are.
    """
    for place, word in enumerate(arguments):
        flag, equals, value = word.partition("=")
        key = flag.lstrip("-").replace("-", "_")
        if not flag.startswith("-") or flag in known or not key:
            continue
        following = re.match(r"[^-][^=]*$", arguments[place + 1]) if not equals and len(arguments) > place + 1 else None
        if (hint := _as_setting(key, following[0] if following else value, arguments)) != "":
            return f"{command} has no flag {flag!r}{hint}"
    return ""


def _as_setting(key: str, value: str, arguments: Sequence[str]) -> str:
    """Return the clause that says how a setting typed as the flag `key` is written; empty if there is no such setting."""
    root = key.partition(".")[0]
    if key == "plugins":
        return f"; write '+plugins=[{value.strip('[]') or 'NAME'}]'"
    if key in {typed_name(field.name) for field in fields(Settings)} or (root in ROOTS and (root != key or root in ROOTS[:3])):
        return f"; write {written(key, value or {'dry_run': 'true', 'resume': 'auto'}.get(key, 'VALUE'))}"
    words = " ".join(word.partition("=")[2].strip("[]").replace(",", " ") for word in arguments if re.match(r"\+?plugins=", word))
    targets = plugin_registry.targets()
    on = {name: {"_target_": targets[name]} for name in words.split() if name in targets}
    return owner_hint(key, value or None, {"plugins": on})


def written(key: str, value: Any) -> str:
    """Return a setting as it is typed, with its value if that is a plain one."""
    if isinstance(value, Mapping | list) or value is None:
        return key
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return f"{key}={text}" if re.fullmatch(r"[\d.eE+-]+|true|false|null", text) else override(key, text)


def _settings(target: str) -> Collection[str]:
    """Return the names of the settings of a class; none if there is no such class."""
    try:
        return read_signature(target).settings
    except ConfigError:
        return ()


def _suggestion(words: Sequence[str]) -> str:
    """Return `; did you mean A or B?` of what is to be typed, `MOST` at most; empty for none."""
    return f"; did you mean {' or '.join(words[:MOST])}?" if words else ""
