"""What Hydra, OmegaConf and YAML say when a config cannot be composed, in one sentence that names the word to change."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

import yaml  # type: ignore[import-untyped]
from hydra.errors import MissingConfigException
from omegaconf.errors import OmegaConfBaseException

from accel.errors import ConfigError, nearest

if TYPE_CHECKING:
    from accel.cli.compose.hydra_session import Session

__all__ = ["T", "culprit", "explain", "sentence"]

T = TypeVar("T")


def explain(session: Session, given: Sequence[str], attempt: Callable[[Sequence[str]], T]) -> T:
    """What `attempt(given)` returns. Raises ConfigError with a sentence for whatever it raises.

    Everything inside is composing: no code of the user's runs, so every exception is about what was typed or what a config
    file says. The word that is to blame is found by leaving out one override after the other.
    """
    try:
        return attempt(given)
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(sentence(session, error, culprit(given, attempt))) from None


def culprit(given: Sequence[str], attempt: Callable[[Sequence[str]], T]) -> str:
    """The override without which it works; where there are several at fault, the first that breaks it; empty for a bad file."""
    for place, text in enumerate(given):
        if _works([*given[:place], *given[place + 1 :]], attempt):
            return text.removeprefix("++")
    if _works([], attempt):
        for end, text in enumerate(given, start=1):
            if not _works(given[:end], attempt):
                return text.removeprefix("++")
    return ""


def _works(given: Sequence[str], attempt: Callable[[Sequence[str]], T]) -> bool:
    try:
        attempt(given)
    except Exception:
        return False
    return True


def sentence(session: Session, error: Exception, blamed: str) -> str:
    """The cause in words."""
    where = f"{blamed}: " if blamed else ""
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, name = error.missing_cfg_file.rpartition("/")
        options = session.options(group) if group else []
        there = f" (there are {', '.join(options)})" if options else ""
        inner = error.missing_cfg_file.partition("/")[2]
        if session.has(inner):  # a defaults list without the slash looks in the folder of its own file
            slash = f"did you mean `/{inner.partition('/')[0]}`, with the slash?"
            return f"{where}there is no config {error.missing_cfg_file!r}; {slash}"
        return f"{where}there is no config {error.missing_cfg_file!r}{nearest(name, options) or there}"
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        return f"{where}{mark.name}, line {mark.line + 1}: {error.problem or error.context} (this is not YAML)"
    if isinstance(error, yaml.YAMLError | UnicodeDecodeError):
        return f"{where}{session.unreadable()}: {str(error).partition(chr(10))[0]} (this is not YAML)"
    if str(error).startswith("Could not delete"):
        key = blamed.lstrip("~").partition("=")[0]
        names = [*session.groups(), *(f"plugins.{name}" for name in session.options("plugins"))]
        return f"{where}there is nothing of that name to take out{'; leave it out' if key in names else nearest(key, names)}"
    if isinstance(error, RecursionError):
        return f"{where}a config lists itself in its defaults"
    cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
    said = [line.strip() for line in str(cause).splitlines() if line.strip()]
    key = next((line.removeprefix("full_key: ") for line in said if line.startswith("full_key: ")), "")
    place = re.match(r"In '(.+)': \w+ raised while composing config:$", said[0]) if len(said) > 1 else None
    if place is not None:
        listed = session.content(place[1]).get("plugins")
        file, said = session.file(place[1]), said[1:]
        if isinstance(listed, list):
            defaults = f"`- /plugins: [{', '.join(map(str, listed))}]`"
            return f"{where}{file}: plugins is no list there; name them in the defaults: {defaults}"
        where = f"{where}{file}: "
    return f"{where}{said[0] if said else type(error).__name__}{f' (at {key})' if key and key not in where else ''}"
