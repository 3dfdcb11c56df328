"""Patterns for the names of parameters: a glob over the dotted name, or a regular expression."""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase

from accel.errors import ConfigError, nearest

__all__ = ["REGEX", "matching", "matching_some"]

REGEX = "re:"
"""The prefix of a pattern that is a regular expression."""


def matching(pattern: str, names: Iterable[str]) -> list[str]:
    """Return the names that a pattern matches, in their order.

    Args:
        pattern: a shell glob over the whole dotted name, in which `*` crosses dots; after `re:` a regular expression for the whole
            name. Both tell capital letters from small ones.
        names: dotted names, such as `blocks.0.mlp.weight`.

    Raises:
        ConfigError: for a pattern that is no text, and for a regular expression that Python cannot read.

    >>> matching("blocks.*.bias", ["blocks.0.mlp.bias", "blocks.0.mlp.weight", "head.bias"])
    ['blocks.0.mlp.bias']
    >>> matching("re:(blocks|head)[.].*bias", ["blocks.0.mlp.bias", "norm.bias"])
    ['blocks.0.mlp.bias']
    """
    if not isinstance(pattern, str):
        raise ConfigError(f"a pattern for names must be a text, not {pattern!r}; put it in quotes")
    if not pattern.startswith(REGEX):
        return [name for name in names if fnmatchcase(name, pattern)]
    try:
        expression = re.compile(pattern.removeprefix(REGEX))
    except re.error as error:
        raise ConfigError(f"{pattern!r} is no regular expression: {error}; leave {REGEX!r} out for a glob") from None
    return [name for name in names if expression.fullmatch(name)]


def matching_some(pattern: str, names: Iterable[str], setting: str, what: str = "parameter") -> list[str]:
    """Return the names that a pattern matches, at least one.

    Args:
        pattern: as for `matching`.
        names: dotted names.
        setting: what the pattern was given as, such as `adamw.groups[0].match`, for the message.
        what: what the names are of, for the message.

    Raises:
        ConfigError: for a pattern that matches nothing, with the nearest names; and as `matching` does, with the setting.
    """
    names = list(names)
    try:
        matches = matching(pattern, names)
    except ConfigError as error:
        raise ConfigError(f"{setting}: {error}") from None
    if matches:
        return matches
    if not names:
        raise ConfigError(f"{setting}: {pattern!r} matches nothing: there is no {what} to match")
    hint = nearest(pattern.removeprefix(REGEX), names) or f"; the first is called {names[0]!r}"
    raise ConfigError(f"{setting}: {pattern!r} matches no {what}{hint}")
