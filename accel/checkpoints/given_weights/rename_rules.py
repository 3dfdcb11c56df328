"""New names for weights, by patterns of their old ones: `{'backbone.*': 'encoder.*'}`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import translate
from typing import Any

from accel.errors import ConfigError, nearest
from accel.parts.shared.name_patterns import REGEX, matching

__all__ = ["RenameRule", "read_rename", "renamed"]

WILDCARD = re.compile(r"\[[^]]+\]|[*?]")
"""What stands for other letters in a glob."""


@dataclass(frozen=True)
class RenameRule:
    """A rule: names that a pattern matches get a new name."""

    pattern: str
    target: str

    def new_name(self, name: str) -> str:
        """Return the new name of a name that the pattern matches. What `*` stands for in the one stands in the other."""
        groups = self._expression().fullmatch(name)
        assert groups is not None
        if self.pattern.startswith(REGEX):
            return groups.expand(self.target)
        values = iter(groups.groups())
        return WILDCARD.sub(lambda _: next(values), self.target)

    def check(self) -> None:
        """Raise ConfigError for a pattern that cannot be read, and a target that asks for more than the pattern has."""
        try:
            expression = self._expression()
            if self.pattern.startswith(REGEX):
                expression.sub(self.target, "")
        except (re.error, IndexError) as error:
            raise ConfigError(f"init.rename: {self.pattern!r} and {self.target!r} do not go together: {error}") from None
        if not self.pattern.startswith(REGEX) and len(WILDCARD.findall(self.target)) > expression.groups:
            raise ConfigError(f"init.rename: {self.target!r} has more wildcards than {self.pattern!r}, from which they are filled")

    def _expression(self) -> re.Pattern[str]:
        """Return the pattern as a regular expression, that of a glob with a group for each wildcard."""
        if self.pattern.startswith(REGEX):
            return re.compile(self.pattern.removeprefix(REGEX))
        end, pieces = 0, list[str]()
        for wildcard in WILDCARD.finditer(self.pattern):
            inside = re.fullmatch(r"\(\?s:(.*)\)\\[Zz]", translate(wildcard[0]))
            assert inside is not None
            pieces += [re.escape(self.pattern[end : wildcard.start()]), f"({inside[1]})"]
            end = wildcard.end()
        return re.compile("".join([*pieces, re.escape(self.pattern[end:])]), re.DOTALL)


def read_rename(rename: Any) -> list[RenameRule]:
    """Return the rules in the setting `init.rename`: a dict of old and new names, or a list of dicts with `match` and `to`.

    Raises:
        ConfigError: for anything else.
    """
    entries = list(rename.items()) if isinstance(rename, dict) else []
    for entry in rename if isinstance(rename, list | tuple) else []:
        if not isinstance(entry, dict) or entry.keys() != {"match", "to"}:
            raise ConfigError(
                f"init.rename must have dicts of match and to, such as {{match: 'backbone.*', to: 'encoder.*'}}, not {entry!r}"
            )
        entries.append((entry["match"], entry["to"]))
    rules = []
    for pattern, target in entries:
        if not isinstance(pattern, str) or not isinstance(target, str):
            raise ConfigError(f"init.rename: names are texts, not {pattern!r} and {target!r}; put them in quotes")
        rules.append(RenameRule(pattern, target))
        rules[-1].check()
    return rules


def renamed(names: Iterable[str], rules: list[RenameRule], origin: str) -> dict[str, str]:
    """Return the new name of each name that a rule matches; the first rule counts.

    Args:
        names: the names in the file.
        rules: the rules.
        origin: where the names are from, in words.

    Raises:
        ConfigError: for a pattern that matches nothing, with the nearest names, and for two names that become one.
    """
    names = list(names)
    new_names: dict[str, str] = {}
    for rule in rules:
        matches = matching(rule.pattern, names)
        if not matches:
            hint = nearest(rule.pattern.removeprefix(REGEX), names) or f"; the first is called {names[0]!r}"
            if starts := [name for name in names if name.startswith(f"{rule.pattern}.")]:
                hint = f"; {starts[0]!r} would be matched by '{rule.pattern}.*'"
            raise ConfigError(f"init.rename: {rule.pattern!r} matches nothing in {origin}{hint}")
        for name in matches:
            new_names.setdefault(name, rule.new_name(name))
    owners: dict[str, str] = {}
    for name in names:
        new = new_names.get(name, name)
        if new in owners:
            raise ConfigError(f"init.rename: {owners[new]} and {name} of {origin} would both be called {new}")
        owners[new] = name
    return new_names
