"""Overrides as values: plugins that are switched on, and settings, by the keys that they have in a config."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from accel.report.formatting import setting

__all__ = ["Overrides", "yaml_value"]


@dataclass(frozen=True)
class Overrides:
    """Changes of a run, as they are typed. Added to others, the later ones win.

    Args:
        plugins: names of those that are switched on.
        settings: values by key, such as `("plugins.threads.count", 8)` or `("evaluate.epochs", 2)`.

    >>> (Overrides(("threads",)) + Overrides(settings=(("plugins.threads.count", 8),))).words
    ('+plugins=[threads]', 'plugins.threads.count=8')
    """

    plugins: tuple[str, ...] = ()
    settings: tuple[tuple[str, Any], ...] = ()

    def __add__(self, other: Overrides) -> Overrides:
        plugins = dict.fromkeys((*self.plugins, *other.plugins))
        return Overrides(tuple(plugins), tuple({**dict(self.settings), **dict(other.settings)}.items()))

    def __bool__(self) -> bool:
        return bool(self.plugins or self.settings)

    @property
    def words(self) -> tuple[str, ...]:
        """The overrides, one a text, as Hydra reads them."""
        switches = (f"+plugins=[{','.join(self.plugins)}]",) if self.plugins else ()
        return switches + tuple(f"{key}={yaml_value(value)}" for key, value in self.settings)

    @property
    def nested(self) -> dict[str, Any]:
        """The settings as a config has them: `{"plugins": {"threads": {"count": 8}}}`."""
        content: dict[str, Any] = {}
        for key, value in self.settings:
            place = content
            *folders, name = key.split(".")
            for folder in folders:
                place = place.setdefault(folder, {})
            place[name] = value
        return content


def yaml_value(value: Any) -> str:
    """Return a value as an override has it: `true`, `2`, `{fused:true}`."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{name}:{yaml_value(inner)}" for name, inner in value.items()) + "}"
    return setting(value)
