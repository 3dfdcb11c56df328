"""Settings of a task or plugin: each is one that its class takes, has its kind, and none is missing."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from accel.cli.compose.origin import Origins
from accel.errors import ConfigError, nearest
from accel.schema.settings import Settings
from accel.schema.signature import REQUIRED, Signature
from accel.values import coerce, refusal

__all__ = ["MISSING", "PLACEHOLDERS", "coerce_settings", "complete_settings"]

MISSING = "???"
"""What a config file says of a setting that the user has to give."""
PLACEHOLDERS = {"root": "DIR", "path": "FILE"}
"""What to write for the value of a missing setting, by its name; VALUE for any other."""


def coerce_settings(origins: Origins, prefix: str, owner: str, settings: dict[str, Any], signature: Signature) -> dict[str, Any]:
    """Return the settings that have a value, each as its kind.

    Args:
        origins: finds the override or the file that set a key.
        prefix: key of the class in the config, such as `plugins.amp`.
        owner: name of the class in messages.
        settings: values by name.
        signature: what the class takes.

    Raises:
        ConfigError: if the class does not take a setting, or a value is of another kind.
    """
    coerced = {}
    for name, value in settings.items():
        key = f"{prefix}.{name}"
        if name not in signature.settings:
            raise ConfigError(f"{origins.label(key)}: {name} is no setting of {owner}{_hint(prefix, name, signature)}")
        if value == MISSING:
            continue
        kind = signature.settings[name].kind
        try:
            coerced[name] = coerce(value, kind)
        except ValueError:
            raise ConfigError(origins.file_prefix(key) + refusal(key, value, kind)) from None
    return coerced


def complete_settings(origins: Origins, prefix: str, owner: str, settings: dict[str, Any], signature: Signature) -> dict[str, Any]:
    """Return the settings as `coerce_settings` does. Raise ConfigError if one that has no default is missing as well."""
    coerced = coerce_settings(origins, prefix, owner, settings, signature)
    for name, setting in signature.settings.items():
        if name not in coerced and (setting.default is REQUIRED or settings.get(name) == MISSING):
            raise ConfigError(f"{prefix}.{name} is missing: add {prefix}.{name}={PLACEHOLDERS.get(name, 'VALUE')}")
    return coerced


def _hint(prefix: str, name: str, signature: Signature) -> str:
    """Return the clause that says which setting may have been meant instead of `name`, or which there are."""
    if prefix == "task" and name in {field.name for field in fields(Settings)}:
        return f"; {name} is a setting of the run: {name}=..."
    if close := nearest(name, signature.settings):
        return close
    return f"; it takes {', '.join(signature.settings)}" if signature.settings else "; it takes none"
