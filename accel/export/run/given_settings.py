"""Settings of an export as they were given, by name, in the places where they belong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, get_type_hints

from accel.errors import ConfigError, listed, nearest
from accel.export.export_settings import ExportSettings
from accel.export.proof.prove import ProofSettings
from accel.values import check_value

__all__ = ["given_settings", "setting_kinds"]


def setting_kinds() -> dict[str, Any]:
    """Return the kind of each setting of an export and of its proof, by name."""
    kinds = get_type_hints(ExportSettings, include_extras=True) | get_type_hints(ProofSettings, include_extras=True)
    return {name: kind for name, kind in kinds.items() if name != "proof"}


def given_settings(given: Mapping[str, Any]) -> ExportSettings:
    """Return the settings of an export.

    Args:
        given: values by name, of `ExportSettings` and `ProofSettings` both.

    Raises:
        ConfigError: for a name that is none, and a value that does not fit.
    """
    kinds = setting_kinds()
    for name in given:
        if name not in kinds:
            raise ConfigError(f"{name} is no setting of an export{nearest(name, kinds) or f'; there is {listed(kinds, 12)}'}")
    values = {name: check_value(name, value, kinds[name]) for name, value in given.items()}
    proof = {field.name: values.pop(field.name) for field in fields(ProofSettings) if field.name in values}
    return ExportSettings(**values, proof=ProofSettings(**proof))
