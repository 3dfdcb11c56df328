"""Rules that give some parameters settings of their own, as they are typed: `{match: 'embed.*', lr: 0.1, weight_decay: 0}`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from accel.errors import ConfigError, nearest
from accel.values import Decay, NonNegative, Positive, check_value

__all__ = ["FACTORS", "GroupRule", "read_rules"]

FACTORS = {"lr_scale": "lr", "weight_decay_scale": "weight_decay"}
"""Keys of a rule that are factors, each with the setting that it multiplies."""
KINDS: dict[str, Any] = {"momentum": Decay, "beta1": Decay, "beta2": Decay, "eps": Positive}
"""Kinds of the values; all others are numbers from 0."""


@dataclass(frozen=True)
class GroupRule:
    """A rule of `groups`."""

    place: str
    """Its name, such as `adamw.groups[0]`."""
    patterns: list[str]
    values: dict[str, float]
    """Values and factors, by the keys as they are typed."""

    def describe(self) -> str:
        """Return the patterns in words."""
        return " or ".join(self.patterns)


def read_rules(owner: str, groups: Any, settings: Iterable[str]) -> list[GroupRule]:
    """Return the rules in the setting `groups` of an optimiser.

    Args:
        owner: the name of the plugin.
        groups: the value of the setting: a list of dicts, or None.
        settings: the names of the settings that a group may have as values.

    Raises:
        ConfigError: for anything that is no rule.
    """
    names = ["lr", *settings]
    names += [factor for factor, name in FACTORS.items() if name in names]
    rules = []
    for index, entry in enumerate(groups or []):
        place = f"{owner}.groups[{index}]"
        if not isinstance(entry, dict) or "match" not in entry:
            raise ConfigError(f"{place} must be a dict with match, such as {{match: 'embed.*', lr: 0.1}}, not {entry!r}")
        patterns = [entry["match"]] if isinstance(entry["match"], str) else entry["match"]
        if not isinstance(patterns, list | tuple) or not patterns or not all(isinstance(pattern, str) for pattern in patterns):
            raise ConfigError(f"{place}.match must be a pattern for names of parameters, or a list of them, not {entry['match']!r}")
        values = {str(name): value for name, value in entry.items() if name != "match"}
        if wrong := [name for name in values if name not in names]:
            hint = nearest(wrong[0], names) or f"; it can have {', '.join(names)}"
            raise ConfigError(f"{place}: a group of {owner} has no {wrong[0]}{hint}")
        if both := [name for factor, name in FACTORS.items() if factor in values and name in values]:
            raise ConfigError(
                f"{place} has both {both[0]} and {both[0]}_scale; {both[0]} is a value and {both[0]}_scale a factor: drop one"
            )
        if not values:
            raise ConfigError(f"{place} sets nothing for what it matches; give it {', '.join(names)}")
        checked = {name: check_value(f"{place}.{name}", value, KINDS.get(name, NonNegative)) for name, value in values.items()}
        rules.append(GroupRule(place, list(patterns), checked))
    return rules
