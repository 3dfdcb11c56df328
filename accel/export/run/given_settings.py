"""Settings of an export as they were given, by name, in the places where they belong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, get_type_hints

from accel.errors import ConfigError, listed, nearest
from accel.export.export_settings import ExportSettings
from accel.export.proof.prove import ProofSettings
from accel.export.quantisation.variant import EIGHT_BITS, Variant, setting_of, variant_of
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
    require_heeded(values)
    proof = {field.name: values.pop(field.name) for field in fields(ProofSettings) if field.name in values}
    return ExportSettings(**values, proof=ProofSettings(**proof))


HEEDED_BY: dict[str, tuple[Variant, ...]] = {
    "calibrate": ("static",), "samples": ("static",), "sensitivity": EIGHT_BITS, "max_drop": ("bfloat16", "float16", *EIGHT_BITS),
}  # fmt: skip
"""Variants that heed a setting."""


def require_heeded(values: Mapping[str, Any]) -> None:
    """Raise ConfigError for settings that exclude each other, or that have no effect on the variant that they name."""
    quantize, precision = values.get("quantize", "none"), values.get("precision", "float32")
    if quantize != "none" and precision != "float32":
        raise ConfigError(
            f"quantize={quantize} and precision={precision} exclude each other: layers of 8 bits leave float32 to the rest"
        )
    variant = variant_of(precision, quantize)
    for name, heeded in HEEDED_BY.items():
        if values.get(name) is not None and variant not in heeded:
            by = " or ".join(map(setting_of, heeded))
            raise ConfigError(f"{name}={values[name]} has no effect: only {by} heeds it, in an export; leave it out")
    if values.get("seconds") == 0 and "compiled" in values:
        raise ConfigError(f"compiled={values['compiled']} has no effect where nothing is timed (seconds=0); leave one of them out")
    if values.get("seconds") == 0 and isinstance(values.get("threads"), list) and len(values["threads"]) > 1:
        raise ConfigError(f"threads={values['threads']} are several only where calls are timed, and seconds=0 times none; name one")
