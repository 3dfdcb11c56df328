"""Errors of Hydra, OmegaConf and YAML as one sentence that names the word to change."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

import yaml  # type: ignore[import-untyped]
from hydra.errors import MissingConfigException
from omegaconf.errors import OmegaConfBaseException

from accel.cli.compose.hydra_choices import missing_package
from accel.errors import ConfigError, nearest

if TYPE_CHECKING:
    from accel.cli.compose.hydra_session import Session

__all__ = ["T", "describe_error", "explain", "failing_override"]

T = TypeVar("T")


def explain(session: Session, overrides: Sequence[str], compose: Callable[[Sequence[str]], T]) -> T:
    """Return `compose(overrides)`.

    No code of the user's runs inside, so every exception is about an override or a config file. The override at fault is
    found by leaving out one after the other.

    Args:
        session: reads config files.
        overrides: words as Hydra takes them.
        compose: composes them, and raises whatever Hydra, OmegaConf and YAML raise.

    Raises:
        ConfigError: with a sentence for any exception of `compose`.
    """
    try:
        return compose(overrides)
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(describe_error(session, error, failing_override(overrides, compose))) from None


def failing_override(overrides: Sequence[str], compose: Callable[[Sequence[str]], T]) -> str:
    """Return the override without which the others compose; the first at fault if there are several; empty for a bad file."""
    for place, text in enumerate(overrides):
        if _composes([*overrides[:place], *overrides[place + 1 :]], compose):
            return text.removeprefix("++")
    if _composes([], compose):
        for end, text in enumerate(overrides, start=1):
            if not _composes(overrides[:end], compose):
                return text.removeprefix("++")
    return ""


def _composes(overrides: Sequence[str], compose: Callable[[Sequence[str]], T]) -> bool:
    """Return whether `compose(overrides)` raises nothing."""
    try:
        compose(overrides)
    except Exception:
        return False
    return True


def describe_error(session: Session, error: Exception, override: str) -> str:
    """Return the cause of `error` in a sentence, behind the override at fault if there is one."""
    prefix = f"{override}: " if override else ""
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        return prefix + _missing_file(session, error.missing_cfg_file)
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        return f"{prefix}{mark.name}, line {mark.line + 1}: {error.problem or error.context} (this is not YAML)"
    if isinstance(error, yaml.YAMLError | UnicodeDecodeError):
        return f"{prefix}{session.invalid_yaml()}: {str(error).partition(chr(10))[0]} (this is not YAML)"
    if str(error).startswith("Could not delete"):
        return prefix + _missing_key(session, override.lstrip("~").partition("=")[0])
    if isinstance(error, RecursionError):
        return f"{prefix}a config lists itself in its defaults"
    return _omegaconf_error(session, error, prefix)


def _missing_file(session: Session, path: str) -> str:
    """Return the sentence for a config file that does not exist, such as `plugins/ampp`."""
    group, _, name = path.rpartition("/")
    if (sentence := missing_package(group, name)) != "":
        return sentence
    rest = path.partition("/")[2]
    if session.has_file(rest):  # a defaults list without the slash looks in the folder of its own file
        return f"there is no config {path!r}; did you mean `/{rest.partition('/')[0]}`, with the slash?"
    options = session.options(group) if group else []
    known = f" (there are {', '.join(options)})" if options else ""
    return f"there is no config {path!r}{nearest(name, options) or known}"


def _missing_key(session: Session, key: str) -> str:
    """Return the sentence for `~key` that takes out nothing."""
    keys = [*session.groups(), *(f"plugins.{name}" for name in session.options("plugins"))]
    return f"there is nothing of that name to take out{'; leave it out' if key in keys else nearest(key, keys)}"


def _omegaconf_error(session: Session, error: Exception, prefix: str) -> str:
    """Return the first line of OmegaConf's message, with the file or the key that it is about."""
    cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    key = next((line.removeprefix("full_key: ") for line in lines if line.startswith("full_key: ")), "")
    match = re.match(r"In '(.+)': \w+ raised while composing config:$", lines[0]) if len(lines) > 1 else None
    if match is not None:
        plugins = session.read_file(match[1]).get("plugins")
        file, lines = session.file_path(match[1]), lines[1:]
        if isinstance(plugins, list):
            defaults = f"`- /plugins: [{', '.join(map(str, plugins))}]`"
            return f"{prefix}{file}: plugins is no list there; name them in the defaults: {defaults}"
        prefix = f"{prefix}{file}: "
    suffix = f" (at {key})" if key and key not in prefix else ""
    return f"{prefix}{lines[0] if lines else type(error).__name__}{suffix}"
