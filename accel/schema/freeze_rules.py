"""Rules of the setting `freeze`, as they are typed: `backbone.*`, or `{match: 'backbone.*', until: 500}`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from accel.errors import ConfigError, nearest
from accel.values import Positive, check_value

__all__ = ["FreezeRule", "read_freeze"]

KEYS = ("match", "until")


@dataclass(frozen=True)
class FreezeRule:
    """A rule of `freeze`."""

    place: str
    """Its name, such as `freeze[0]`."""
    patterns: list[str]
    until: float | None = None
    """The last update in which what it matches is frozen; below 1 a share of the run; None for the whole run."""

    def update(self, updates: int | None) -> int | None:
        """Return the number of the last frozen update, from 1; None for the whole run.

        Args:
            updates: of the whole run; None if the data does not tell.

        Raises:
            ConfigError: if the run is not longer than that, or has no length to take a share of.
        """
        if self.until is None:
            return None
        if self.until < 1 and updates is None:
            raise ConfigError(
                f"{self.place}.until={self.until:g} is a share of the run, whose number of updates is not known; give a number of "
                "updates"
            )
        last = max(1, round(self.until * (updates or 0))) if self.until < 1 else int(self.until)
        if updates is not None and last >= updates:
            raise ConfigError(
                f"{self.place}.until is update {last:,}, and the run has {updates:,}, so nothing would be thawed; make it smaller, "
                "or leave it out"
            )
        return last


def read_freeze(freeze: list[Any] | None) -> list[FreezeRule]:
    """Return the rules in the setting `freeze`.

    Raises:
        ConfigError: for anything that is no rule.
    """
    rules = []
    for index, entry in enumerate(freeze or []):
        place = f"freeze[{index}]"
        given = {"match": entry} if isinstance(entry, str) else entry
        if not isinstance(given, dict) or "match" not in given:
            raise ConfigError(f"{place} must be a pattern, or a dict such as {{match: 'backbone.*', until: 500}}, not {entry!r}")
        if wrong := [str(name) for name in given if name not in KEYS]:
            raise ConfigError(f"{place} has no {wrong[0]}{nearest(wrong[0], KEYS) or '; it can have match and until'}")
        patterns = [given["match"]] if isinstance(given["match"], str) else given["match"]
        if not isinstance(patterns, list | tuple) or not patterns or not all(isinstance(pattern, str) for pattern in patterns):
            raise ConfigError(f"{place}.match must be a pattern for names of parameters, or a list of them, not {given['match']!r}")
        until = check_value(f"{place}.until", given.get("until"), Positive | None)
        if until is not None and until > 1 and until != int(until):
            raise ConfigError(f"{place}.until must be a whole number of updates, or a share of the run below 1, not {until:g}")
        rules.append(FreezeRule(place, list(patterns), until))
    return rules
