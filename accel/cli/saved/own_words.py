"""Words of a command about a run: settings of its own, and the rest."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from accel.cli.completion.override_candidates import kind_values
from accel.cli.completion.path_candidates import path_candidates
from accel.cli.help_page import Row
from accel.errors import ConfigError, nearest
from accel.export.all_targets import target_class
from accel.system.disk_errors import nearest_beside, readable
from accel.system.machine import importable
from accel.values import check_value

__all__ = ["check_words", "own_candidates", "pythons_of_exports", "require_path", "second_path", "split_words", "weights_of_export"]


def split_words(words: Sequence[str], kinds: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return the settings of the command, by name, and the words that are none, in order.

    Args:
        words: the words behind the run.
        kinds: the kind of each setting, by name.

    Raises:
        ConfigError: for a value that does not fit, or a setting that is given twice.
    """
    settings: dict[str, Any] = {}
    rest = []
    for word in words:
        name, equals, text = word.partition("=")
        if not equals or name not in kinds:
            rest.append(word)
        elif name in settings:
            raise ConfigError(f"{name} is given twice; keep one")
        else:
            settings[name] = check_value(name, text if kinds[name] is str else _plain(text), kinds[name])
    return settings, rest


def _plain(text: str) -> Any:
    """Return a word as the number, or as true or false, that it writes down; any other as it is."""
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        with suppress(ValueError):
            return kind(text)
    return text


def check_words(words: Sequence[str], names: Collection[str], command: str) -> None:
    """Raise ConfigError for a word that is a setting, and none of the command's; a path that is there may look like one."""
    for word in words:
        name, equals, _ = word.partition("=")
        if equals and name.replace("_", "").replace(".", "").isalnum() and not Path(word).exists():
            hint = nearest(name, names) or f"; there is {', '.join(names)}"
            raise ConfigError(f"{word}: {name} is no setting of {command}{hint}")


def require_path(word: str, command: str) -> Path:
    """Return the path of the run that a command begins with. Raise ConfigError if it is none, or not there."""
    path = Path(word).expanduser()
    with readable(path):
        if path.exists():
            return path
    if "=" in word:
        raise ConfigError(f"{command} takes a run first, and {word} is a setting; write {command} RUN {word}")
    raise ConfigError(f"{word} does not exist{nearest_beside(path) or '; name a run directory'}")


def second_path(words: list[str]) -> Path | None:
    """Take a second run out of the words behind the first, and return it; None if the next word is a setting."""
    if not words or "=" in words[0] or words[0].startswith(("+", "~plugins")):
        return None
    path = Path(words[0]).expanduser()
    if not path.exists():
        raise ConfigError(f"{words[0]} is neither a setting nor a run that is there; compare with a run directory or an export")
    words.pop(0)
    return path


def weights_of_export(exported: Path | None, settings: Mapping[str, Any]) -> str | None:
    """Return which weights of the run are meant: those that an export was made of. Raise ConfigError if others are named."""
    if exported is None:
        return settings.get("weights")
    if "weights" in settings:
        raise ConfigError(f"weights={settings['weights']} has no effect: {exported} is an export, which has its own; leave it out")
    from accel.export.card import Card  # with torch, which completion does without

    which = Card.read(exported).weights.partition(" ")[0]
    return which if which in ("best", "last") else None


def pythons_of_exports(exports: Sequence[Path | None], settings: Mapping[str, Any]) -> list[str | None]:
    """Return the interpreter of the engine of each export: of two, `python` is for those whose engine is not installed here.

    Args:
        exports: the folder of each; None for a run.
        settings: those that were typed.

    Raises:
        ConfigError: if an interpreter is named, and none is an export.
    """
    python = settings.get("python")
    if python is None:
        return [None] * len(exports)
    if not any(exports):
        raise ConfigError(f"python={python} has no effect: it is the interpreter of an export's engine, and no export is named")
    from accel.export.card import Card

    engines = [() if folder is None else target_class(Card.read(folder).target).runs_with for folder in exports]
    apart = [not all(map(importable, engine)) for engine in engines]
    return [python if folder and (here or not any(apart)) else None for folder, here in zip(exports, apart, strict=True)]


def own_candidates(kinds: Mapping[str, Any], word: str) -> list[Row]:
    """Return the settings of a command that a word may become, with their values once the name is typed."""
    name, equals, value = word.partition("=")
    if not equals:
        return [(f"{kind}=", "") for kind in kinds]
    if name not in kinds:
        return []
    values = [("best", ""), ("last", "")] if name == "weights" else kind_values(kinds[name])
    values = path_candidates(value) if name in ("out", "python") else values
    return [(f"{name}={candidate}", about) for candidate, about in values]
